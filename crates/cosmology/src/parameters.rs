//! The parameters of a cosmology, and what its model includes.

use crate::background::MASSIVE_SPECIES;
use crate::{Dual, Error, Result, Scalar};

/// Names of the parameters, in the order of [`Parameters::to_array`]. The amplitude is `sigma8` or `a_s`.
pub const PARAMETERS: [&str; 11] =
    ["omega_m", "omega_b", "h", "n_s", "amplitude", "w0", "wa", "omega_k", "m_nu", "n_eff", "t_cmb"];

/// Whether expansion and growth depend on a parameter, by its place in [`PARAMETERS`]; the others shape the linear spectrum only.
pub fn shapes_history(index: usize) -> bool {
    !["omega_b", "n_s", "amplitude"].contains(&PARAMETERS[index])
}

/// A number with its derivatives with respect to all [`PARAMETERS`].
pub type Gradient = Dual<{ PARAMETERS.len() }>;

/// Parameters of a universe with matter, radiation, massive neutrinos, curvature and dark energy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters<S> {
    /// All matter today, massive neutrinos included, in critical densities.
    pub omega_m: S,
    /// Baryons today, in critical densities.
    pub omega_b: S,
    /// `H0 / (100 km/s/Mpc)`.
    pub h: S,
    /// Slope of the primordial spectrum.
    pub n_s: S,
    /// `sigma8`, or `A_s` in units of 1e-9, see [`Normalization`].
    pub amplitude: S,
    /// Equation of state of dark energy today: `w(a) = w0 + wa (1 - a)`.
    pub w0: S,
    /// Its change, `-dw/da`.
    pub wa: S,
    /// Curvature today, in critical densities: positive for an open universe.
    pub omega_k: S,
    /// Sum of the neutrino masses \[eV\]. Expansion and growth know of them; that they smooth the power of short waves, by about eight times
    /// their share of matter, only a spectrum from a table does.
    pub m_nu: S,
    /// Effective number of neutrino species.
    pub n_eff: S,
    /// Temperature of the microwave background \[K\].
    pub t_cmb: S,
}

/// What the amplitude parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalization {
    /// Standard deviation of the linear density in spheres of 8 Mpc/h today.
    #[default]
    Sigma8,
    /// Primordial curvature power at 0.05 / Mpc, in units of 1e-9.
    PrimordialAmplitude,
}

/// Which formula gives the shape of the linear spectrum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// Eisenstein & Hu (1998), with baryon acoustic oscillations.
    #[default]
    EisensteinHu,
    /// The same without oscillations (their section 4.2).
    NoWiggle,
}

/// Choices of the model that are not numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What the amplitude is.
    pub normalization: Normalization,
    /// Shape of the linear spectrum.
    pub transfer: Transfer,
    /// Whether photons and neutrinos take part in the expansion. Many N-body codes leave them out.
    pub radiation: bool,
    /// Number of neutrino species that share `m_nu`.
    pub massive_neutrinos: u8,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            normalization: Normalization::Sigma8,
            transfer: Transfer::EisensteinHu,
            radiation: true,
            massive_neutrinos: 1,
        }
    }
}

impl Settings {
    /// Refuses masses of neutrinos that would be left out, and more massive species than there are.
    ///
    /// # Errors
    /// With the name, the value and the range.
    pub fn check(&self, p: &Parameters<f64>) -> Result<()> {
        let wrong = |name, value, expected: String| Err(Error::Parameter { name, value, expected });
        if p.m_nu == 0.0 {
            return Ok(());
        }
        let massive = f64::from(self.massive_neutrinos);
        if !self.radiation || massive == 0.0 {
            let left_out = if self.radiation { "`massive_neutrinos` = 0" } else { "`radiation` = false" };
            return wrong(
                "m_nu",
                p.m_nu,
                format!("it must be 0 with {left_out}, which leaves neutrinos without a mass"),
            );
        }
        let least = massive * MASSIVE_SPECIES;
        if p.n_eff < least {
            let expected = format!("it must be at least {least:.4}, of which are {massive} massive species");
            return wrong("n_eff", p.n_eff, expected);
        }
        Ok(())
    }
}

impl Parameters<f64> {
    /// Planck 2018 (Planck collaboration VI 2020, table 2, last column), massless neutrinos.
    pub fn planck18() -> Parameters<f64> {
        Parameters {
            omega_m: 0.3111,
            omega_b: 0.0490,
            h: 0.6766,
            n_s: 0.9665,
            amplitude: 0.8102,
            w0: -1.0,
            wa: 0.0,
            omega_k: 0.0,
            m_nu: 0.0,
            n_eff: 3.046,
            t_cmb: 2.7255,
        }
    }

    /// Planck 2015 (Planck collaboration XIII 2016, table 4, last column), massless neutrinos.
    pub fn planck15() -> Parameters<f64> {
        Parameters {
            omega_m: 0.3089,
            omega_b: 0.0486,
            h: 0.6774,
            n_s: 0.9667,
            amplitude: 0.8159,
            ..Parameters::planck18()
        }
    }

    /// The same numbers, each with derivative one with respect to itself.
    pub fn with_gradient(&self) -> Parameters<Gradient> {
        let values = self.to_array();
        Parameters::from_array(std::array::from_fn(|i| Dual::variable(values[i], i)))
    }

    /// Refuses numbers that no formula here is meant for.
    ///
    /// # Errors
    /// With the name, the value and the range.
    pub fn check(&self) -> Result<()> {
        let ranges: [(f64, f64); PARAMETERS.len()] = [
            (0.01, 2.0),
            (1e-4, 1.0),
            (0.1, 3.0),
            (-1.0, 4.0),
            (1e-6, 100.0),
            (-5.0, 0.0),
            (-10.0, 5.0),
            (-0.9, 0.9),
            (0.0, 10.0),
            (0.0, 20.0),
            (0.5, 10.0),
        ];
        for ((name, value), (low, high)) in PARAMETERS.into_iter().zip(self.to_array()).zip(ranges) {
            if !(value >= low && value <= high) {
                let expected = format!("it must lie between {low} and {high}");
                return Err(Error::Parameter { name, value, expected });
            }
        }
        if self.omega_b >= self.omega_m {
            let expected = format!("baryons are a part of matter, omega_m = {}", self.omega_m);
            return Err(Error::Parameter { name: "omega_b", value: self.omega_b, expected });
        }
        let left = 1.0 - self.omega_m - self.omega_k;
        if left < -1e-9 {
            let expected =
                format!("omega_m + omega_k must be at most 1, and leave {left:.3} for dark energy");
            return Err(Error::Parameter { name: "omega_m", value: self.omega_m, expected });
        }
        if self.w0 + self.wa >= 0.0 {
            let expected =
                "w0 + wa must be negative, or dark energy would rule the early universe".to_string();
            return Err(Error::Parameter { name: "wa", value: self.wa, expected });
        }
        Ok(())
    }
}

impl<S: Scalar> Parameters<S> {
    /// The numbers in the order of [`PARAMETERS`].
    pub fn to_array(&self) -> [S; PARAMETERS.len()] {
        [
            self.omega_m,
            self.omega_b,
            self.h,
            self.n_s,
            self.amplitude,
            self.w0,
            self.wa,
            self.omega_k,
            self.m_nu,
            self.n_eff,
            self.t_cmb,
        ]
    }

    /// The inverse of [`to_array`](Parameters::to_array).
    pub fn from_array(p: [S; PARAMETERS.len()]) -> Parameters<S> {
        let [omega_m, omega_b, h, n_s, amplitude, w0, wa, omega_k, m_nu, n_eff, t_cmb] = p;
        Parameters { omega_m, omega_b, h, n_s, amplitude, w0, wa, omega_k, m_nu, n_eff, t_cmb }
    }
}
