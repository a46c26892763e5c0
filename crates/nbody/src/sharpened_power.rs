//! What a sharpening does to the power of matter: the operator that its numbers are fitted with.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::vector::axpy;
use lookback_operator::{
    Block, Error as OperatorError, Linearization, Operator, Real, Result as OperatorResult, Space, zeros,
};
use num_complex::Complex;
use rayon::prelude::*;

use crate::sharpening::{BandKind, SHARPENING_PARAMETERS, Sharpening};
use crate::{Gravity, Result, Settings};

/// Particles at one time, and how they are seen around it.
#[derive(Debug, Clone)]
pub struct Snapshot<T> {
    /// Scale factor.
    pub at: f64,
    /// Displacements \[Mpc/h\].
    pub displacement: Vec<T>,
    /// Momenta, in the unit of the drifts.
    pub momentum: Vec<T>,
    /// How far sharpened particles have moved along their momenta when they are seen: one drift for each moment at which they are.
    pub drifts: Vec<f64>,
}

/// The four numbers of a [`Sharpening`] to the power spectrum of sharpened particles, in bins, snapshot after snapshot, as the mean over the moments of
/// each: `mean |delta(k)|^2 V / W(k)^2` \[(Mpc/h)^3\], with the window `W` of the paint divided out and shot noise left in.
///
/// Cost: three forces a snapshot, and four painted and transformed meshes a moment, with all derivatives; one of each for a value.
pub struct SharpenedPower<T> {
    settings: Settings,
    grid: Grid,
    snapshots: Vec<Snapshot<T>>,
    /// Bin of each mode of the half spectrum.
    bins: Vec<Option<usize>>,
    /// Number of modes in each bin.
    counts: Vec<f64>,
    domain: Space,
    codomain: Space,
}

impl<T: Real> SharpenedPower<T> {
    /// Snapshots of a simulation, and rising edges of bins of wave number \[h/Mpc\] that all hold modes.
    ///
    /// # Errors
    /// If a snapshot has another number of particles, or a bin holds no mode.
    pub fn new(
        settings: Settings,
        snapshots: Vec<Snapshot<T>>,
        edges: Vec<f64>,
    ) -> Result<SharpenedPower<T>> {
        settings.check()?;
        let expected = 3 * settings.particles.pow(3);
        for snapshot in &snapshots {
            if let Some(wrong) =
                [&snapshot.displacement, &snapshot.momentum].iter().find(|v| v.len() != expected)
            {
                let message = format!("a snapshot has {} numbers instead of {expected}", wrong.len());
                return Err(crate::Error::Setting(message));
            }
            if snapshot.drifts.is_empty() {
                return Err(crate::Error::Setting("a snapshot is seen at no moment".into()));
            }
        }
        let grid = Grid::new(&[settings.cells; 3], &[settings.length; 3])?;
        let (bins, counts) = bin_modes(&grid, &edges);
        if counts.is_empty() || counts.contains(&0.0) {
            return Err(crate::Error::Setting("every bin of wave number must hold a mode".into()));
        }
        let domain = Space::new(SHARPENING_PARAMETERS.map(|name| Block::new(name, &[], "")).to_vec());
        let codomain = Space::single("power", &[snapshots.len(), counts.len()], "(Mpc/h)^3");
        Ok(SharpenedPower { settings, grid, snapshots, bins, counts, domain, codomain })
    }

    fn workshop(&self) -> Result<Workshop<'_, T>> {
        let s = &self.settings;
        let fft = RealFft::new(&self.grid);
        Ok(Workshop {
            power: self,
            gravity: Gravity::new(s.particles, s.cells, s.length, s.kernels, s.window)?,
            mesh: vec![T::zero(); self.grid.len()],
            spectra: [fft.make_spectrum(), fft.make_spectrum()],
            fft,
            jacobian: Vec::new(),
        })
    }
}

/// Bin of each mode of the half spectrum, and the number of modes a bin.
fn bin_modes(grid: &Grid, edges: &[f64]) -> (Vec<Option<usize>>, Vec<f64>) {
    let half = grid.half_columns();
    let bins = edges.len().saturating_sub(1);
    let bin = |i: usize| {
        let k = grid.wave_vector(i / half, i % half).iter().map(|k| k * k).sum::<f64>().sqrt();
        let bin = edges.partition_point(|&edge| edge <= k);
        (bin > 0 && bin <= bins).then(|| bin - 1)
    };
    let of: Vec<Option<usize>> = (0..grid.half_len()).into_par_iter().map(bin).collect();
    let mut counts = vec![0.0; bins];
    for (i, bin) in of.iter().enumerate() {
        if let Some(bin) = bin {
            counts[*bin] += grid.multiplicity(i % half) as f64;
        }
    }
    (of, counts)
}

/// The meshes that a power spectrum needs, and the derivatives at a point.
struct Workshop<'a, T: Real> {
    power: &'a SharpenedPower<T>,
    gravity: Gravity<T>,
    fft: RealFft<T>,
    mesh: Vec<T>,
    spectra: [Vec<Complex<T>>; 2],
    /// Rows of four, one for each entry of the output.
    jacobian: Vec<[f64; 4]>,
}

impl<T: Real> Workshop<'_, T> {
    /// `sum a b* / W^2` in each bin, times the volume.
    fn products(&self, both: bool) -> Vec<f64> {
        let s = &self.power.settings;
        let half = s.cells / 2 + 1;
        let (a, b) = (&self.spectra[0], &self.spectra[usize::from(both)]);
        let inverse: Vec<f64> = (0..s.cells)
            .map(|i| {
                let w = std::f64::consts::TAU * f64::from(Grid::signed(i, s.cells)) / s.cells as f64;
                s.window.transform(w).powi(-2)
            })
            .collect();
        let scale = s.length.powi(3) / (s.particles as f64).powi(6);
        let rows: Vec<Vec<f64>> = (0..s.cells)
            .into_par_iter()
            .map(|plane| {
                let mut sums = vec![0.0; self.power.counts.len()];
                for i in plane * s.cells * half..(plane + 1) * s.cells * half {
                    let Some(bin) = self.power.bins[i] else { continue };
                    let window = inverse[plane] * inverse[i / half % s.cells] * inverse[i % half];
                    let product = a[i].re.f64() * b[i].re.f64() + a[i].im.f64() * b[i].im.f64();
                    sums[bin] += self.power.grid.multiplicity(i % half) as f64 * product * window;
                }
                sums
            })
            .collect();
        let total = |bin: usize| rows.iter().map(|row| row[bin]).sum::<f64>();
        (0..self.power.counts.len()).map(|bin| scale * total(bin) / self.power.counts[bin]).collect()
    }

    /// Powers at a point, and with `slopes` their derivatives.
    fn evaluate(&mut self, sharpening: Sharpening, slopes: bool, out: &mut [f64]) {
        let bins = self.power.counts.len();
        self.jacobian.clear();
        let power = self.power;
        for (snapshot, out) in power.snapshots.iter().zip(out.chunks_mut(bins)) {
            let x = &snapshot.displacement;
            let (seen, by) = self.gravity.sharpened(sharpening, snapshot.at, x);
            let mut directions = vec![by];
            if slopes {
                for kind in [BandKind::ByLarge, BandKind::BySmall] {
                    let mut by = zeros(x.len());
                    self.gravity.within(sharpening.band(kind), |gravity| gravity.at(x, &mut by));
                    directions.push(by);
                }
            }
            let share = sharpening.share(snapshot.at);
            let (by_alpha, by_mu) = (snapshot.at.powf(sharpening.mu), share * snapshot.at.ln());
            let mut rows = vec![[0.0; 4]; bins];
            out.fill(0.0);
            for &drift in &snapshot.drifts {
                let mut moved = seen.clone();
                axpy(drift, &snapshot.momentum, &mut moved);
                self.gravity.count(&moved, &mut self.mesh);
                self.fft.forward(&self.mesh, &mut self.spectra[0]);
                let weight = 1.0 / snapshot.drifts.len() as f64;
                out.iter_mut().zip(self.products(false)).for_each(|(out, power)| *out += weight * power);
                if !slopes {
                    continue;
                }
                let [by_share, by_kl, by_ks] = [0, 1, 2].map(|i| self.along(&moved, &directions[i]));
                for (bin, row) in rows.iter_mut().enumerate() {
                    let new = [
                        by_alpha * by_share[bin],
                        by_mu * by_share[bin],
                        share * by_kl[bin],
                        share * by_ks[bin],
                    ];
                    row.iter_mut().zip(new).for_each(|(sum, new)| *sum += weight * new);
                }
            }
            if slopes {
                self.jacobian.extend(rows);
            }
        }
    }

    /// Change of the powers of particles whose density was transformed last, when they move in a direction.
    fn along(&mut self, seen: &[T], direction: &[T]) -> Vec<f64> {
        self.gravity.count_push(seen, direction, &mut self.mesh);
        self.fft.forward(&self.mesh, &mut self.spectra[1]);
        self.products(true).into_iter().map(|p| 2.0 * p).collect()
    }

    fn value(&mut self, x: &[T], y: &mut [T], slopes: bool) -> OperatorResult<()> {
        OperatorError::check_length(|| self.power.name(), "input", x.len(), 4)?;
        OperatorError::check_length(|| self.power.name(), "output", y.len(), self.power.codomain.len())?;
        let sharpening = Sharpening::from_array(std::array::from_fn(|i| x[i].f64()));
        sharpening.check()?;
        let mut powers = vec![0.0; y.len()];
        self.evaluate(sharpening, slopes, &mut powers);
        y.iter_mut().zip(powers).for_each(|(y, power)| *y = T::of(power));
        Ok(())
    }
}

impl<T: Real> Linearization<T> for Workshop<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.value(x, y, true)
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> OperatorResult<()> {
        OperatorError::check_length(|| self.power.name(), "tangent", dx.len(), 4)?;
        OperatorError::check_length(|| self.power.name(), "output", dy.len(), self.jacobian.len())?;
        for (dy, row) in dy.iter_mut().zip(&self.jacobian) {
            *dy = T::of(row.iter().zip(dx).map(|(j, dx)| j * dx.f64()).sum());
        }
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> OperatorResult<()> {
        OperatorError::check_length(|| self.power.name(), "cotangent", dy.len(), self.jacobian.len())?;
        OperatorError::check_length(|| self.power.name(), "input", dx.len(), 4)?;
        for (i, dx) in dx.iter_mut().enumerate() {
            *dx = T::of(self.jacobian.iter().zip(dy).map(|(row, dy)| row[i] * dy.f64()).sum());
        }
        Ok(())
    }
}

impl<T: Real> Operator<T> for SharpenedPower<T> {
    fn name(&self) -> String {
        format!("power of {} snapshots of sharpened particles", self.snapshots.len())
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        match self.workshop() {
            Ok(workshop) => Box::new(workshop),
            Err(error) => Box::new(lookback_operator::Unavailable(error.into())),
        }
    }

    fn apply_into(&self, x: &[T], y: &mut [T]) -> OperatorResult<()> {
        self.workshop()?.value(x, y, false)
    }
}
