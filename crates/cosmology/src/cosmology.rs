//! A cosmology: parameters, the history that they give, and the linear power spectrum.

use std::sync::Arc;

use crate::{
    Background, DistanceTable, Error, Gradient, GrowthTable, History, Instant, LinearPower, Normalization,
    PARAMETERS, Parameters, PowerTable, Result, Scalar, Settings, shapes_history,
};

/// What is read from files instead of computed.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Shape of the linear spectrum at redshift 0; with [`Normalization::PrimordialAmplitude`] its amplitude, too.
    pub power: Option<Arc<PowerTable>>,
    /// Growth, and the expansion that momenta and redshift space know of; widths of `n(z)` and formulas take that of the parameters.
    pub growth: Option<Arc<GrowthTable>>,
    /// Distances of redshifts.
    pub distances: Option<Arc<DistanceTable>>,
}

/// Everything that follows from a set of parameters.
///
/// Cost: 0.4 ms to make with `f64`, 5 ms with derivatives (one thread).
#[derive(Debug, Clone)]
pub struct Cosmology<S> {
    parameters: Parameters<S>,
    settings: Settings,
    history: History<S>,
    linear: LinearPower<S>,
    tables: Tables,
}

impl Cosmology<f64> {
    /// From parameters, which are checked.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn new(parameters: Parameters<f64>, settings: Settings) -> Result<Cosmology<f64>> {
        Cosmology::with_tables(parameters, settings, Tables::default())
    }

    /// Whether the linear spectrum is that of a table, which no parameter scales.
    pub fn keeps_amplitude_of_table(&self) -> bool {
        self.tables.power.is_some() && self.settings.normalization == Normalization::PrimordialAmplitude
    }

    /// Why the parameter of this name cannot be free, where it cannot.
    pub fn why_fixed(&self, name: &str) -> Option<&'static str> {
        let Settings { radiation, massive_neutrinos, .. } = self.settings;
        let table = self.tables.power.is_some();
        let history = self.history.is_tabulated();
        let of_history = PARAMETERS.iter().position(|known| *known == name).is_some_and(shapes_history);
        match name {
            _ if history && of_history => {
                Some("growth or distances are those of a table, whose numbers have no derivatives")
            }
            "omega_b" | "n_s" if table => Some("nothing depends on it, as the spectrum is that of a table"),
            "h" | "t_cmb" if table && !radiation => {
                Some("nothing depends on it, as the spectrum is that of a table, and radiation is left out")
            }
            "n_eff" | "m_nu" if !radiation => Some("nothing depends on it, as radiation is left out"),
            "m_nu" if massive_neutrinos == 0 => {
                Some("nothing depends on it, as no species of neutrinos is massive")
            }
            _ => None,
        }
    }

    /// The same with what is in the tables.
    ///
    /// # Errors
    /// As [`Cosmology::new`], and if a table is far from the universe of the parameters.
    pub fn with_tables(
        parameters: Parameters<f64>,
        settings: Settings,
        tables: Tables,
    ) -> Result<Cosmology<f64>> {
        parameters.check().map_err(|error| match error {
            // As it is called in files.
            Error::Parameter { name: "amplitude", value, expected } => match settings.normalization {
                Normalization::Sigma8 => Error::Parameter { name: "sigma8", value, expected },
                Normalization::PrimordialAmplitude => {
                    Error::Parameter { name: "a_s", value, expected: format!("in units of 1e-9 {expected}") }
                }
            },
            other => other,
        })?;
        settings.check(&parameters)?;
        let cosmology = Cosmology::make(parameters, settings, tables)?;
        cosmology.history.check_tables()?;
        Ok(cosmology)
    }

    /// The same cosmology with the derivatives of every quantity with respect to all parameters.
    ///
    /// # Errors
    /// None that [`Cosmology::new`] would not have met.
    pub fn with_gradient(&self) -> Result<Cosmology<Gradient>> {
        Cosmology::make(self.parameters.with_gradient(), self.settings, self.tables.clone())
    }

    /// The same with the derivatives with respect to those parameters alone on which the history does not depend
    /// ([`shapes_history`]): several times as quick.
    pub fn with_spectrum_gradient(&self) -> Cosmology<Gradient> {
        let mut p = self.parameters.with_gradient().to_array();
        for (index, p) in p.iter_mut().enumerate().filter(|(index, _)| shapes_history(*index)) {
            *p = Gradient::of(self.parameters.to_array()[index]);
        }
        let p = Parameters::from_array(p);
        let history = self.history.constant(Background::new(&p, &self.settings));
        let linear =
            LinearPower::new(&p, &self.settings, history.instant(1.0).d1.d, self.tables.power.clone());
        Cosmology { parameters: p, settings: self.settings, history, linear, tables: self.tables.clone() }
    }

    /// The same model with other parameters.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn moved_to(&self, parameters: Parameters<f64>) -> Result<Cosmology<f64>> {
        Cosmology::with_tables(parameters, self.settings, self.tables.clone())
    }
}

impl<S: Scalar> Cosmology<S> {
    fn make(p: Parameters<S>, settings: Settings, tables: Tables) -> Result<Cosmology<S>> {
        let history = History::new(Background::new(&p, &settings))?
            .with_tables(tables.growth.clone(), tables.distances.clone());
        let linear = LinearPower::new(&p, &settings, history.instant(1.0).d1.d, tables.power.clone());
        Ok(Cosmology { parameters: p, settings, history, linear, tables })
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters<S> {
        &self.parameters
    }

    /// The choices of the model.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Name of the amplitude parameter in files: `sigma8` or `a_s` (in units of 1e-9).
    pub fn amplitude_name(&self) -> &'static str {
        match self.settings.normalization {
            Normalization::Sigma8 => "sigma8",
            Normalization::PrimordialAmplitude => "a_s",
        }
    }

    /// Distances and growth.
    pub fn history(&self) -> &History<S> {
        &self.history
    }

    /// Expansion.
    pub fn background(&self) -> &Background<S> {
        self.history.background()
    }

    /// Growth and expansion at scale factor `a`.
    pub fn instant(&self, a: f64) -> Instant<S> {
        self.history.instant(a)
    }

    /// The linear spectrum per unit of `D1^2`.
    pub fn linear(&self) -> &LinearPower<S> {
        &self.linear
    }

    /// Linear power \[(Mpc/h)^3\] at `k` \[h/Mpc\] and scale factor `a`.
    pub fn linear_power(&self, k: f64, a: f64) -> S {
        self.linear.power(k) * self.instant(a).d1.d.powi(2)
    }
}
