//! A Gaussian field whose power spectrum is not known, and is inferred together with the field.
//!
//! The amplitude model is that of Arras et al. 2022 (Nature Astronomy 6, 259; arXiv 2002.05218): a power law in the
//! amplitude, bent by an integrated Wiener process over `ln k`, with every parameter a standard normal latent. With
//! the canonical Hartley transform, the same latents give the same field as NIFTy's `CorrelatedFieldMaker`.

use lookback_mesh::{Grid, Hartley};
use lookback_operator::{Block, Error, Linearization, Operator, Real, Result, Space};
use num_complex::Complex;

use crate::Distribution;

/// What is known beforehand about the spectrum of a [`CorrelatedField`].
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelatedFieldParameters {
    /// Known mean of the field.
    pub offset_mean: f64,
    /// Standard deviation of the unknown part of the mean (log-normal).
    pub offset_std: Distribution,
    /// Standard deviation of the field about its mean (log-normal).
    pub fluctuations: Distribution,
    /// Slope of the amplitude `sqrt(P)` over `ln k` (normal).
    pub slope: Distribution,
    /// Strength of the smooth departures from a power law (log-normal); `None` for a pure power law.
    pub flexibility: Option<Distribution>,
    /// Roughness of these departures (log-normal); `None` for smooth ones.
    pub asperity: Option<Distribution>,
}

/// Number of scalar parameters in front of the bend of the spectrum.
const OFFSET: usize = 0;
const FLUCTUATIONS: usize = 1;
const SLOPE: usize = 2;

/// `s = offset + sum_k a(|k|) xi(k) cas(k x)` with `a = fluctuations * A / sqrt(sum_k A^2)` and
/// `ln A = slope * ln(k / k_1) + bend(ln k)`; `a(0)` is the standard deviation of the offset.
///
/// Blocks of the domain: `modes` (shape of the grid), `offset_std`, `fluctuations`, `slope`, then, if there is a bend,
/// `flexibility`, (`asperity`,) and `bend` (one pair for each step between distinct wave numbers). Cost: one real
/// transform, and a few operations for each distinct wave number.
pub struct CorrelatedField<T: Real> {
    domain: Space,
    codomain: Space,
    grid: Grid,
    hartley: Hartley<T>,
    parameters: CorrelatedFieldParameters,
    /// Distinct wave numbers, the first is zero.
    wave_numbers: Vec<f64>,
    /// `ln(k / k_1)`; zero for the first two.
    ln_k: Vec<f64>,
    multiplicity: Vec<f64>,
    /// Distinct wave number of each mode of the half spectrum.
    bin: Vec<u32>,
}

impl<T: Real> CorrelatedField<T> {
    /// A field `name` on `grid`.
    ///
    /// # Errors
    /// If a distribution is out of range, the scales are not log-normal or the grid has too few modes.
    pub fn new(
        grid: &Grid,
        parameters: CorrelatedFieldParameters,
        name: &str,
        unit: &str,
    ) -> Result<CorrelatedField<T>> {
        let scales = [
            Some(parameters.offset_std),
            Some(parameters.fluctuations),
            parameters.flexibility,
            parameters.asperity,
        ];
        for scale in scales.into_iter().flatten() {
            scale.validated()?;
            if scale.quantile(-5.0) <= 0.0 {
                return Err(Error::parameter(
                    "correlated field",
                    format!("a scale must be positive, {scale:?} is not"),
                ));
            }
        }
        if parameters.asperity.is_some() && parameters.flexibility.is_none() {
            let message =
                "`asperity` is the roughness of departures that only `flexibility` allows; give both";
            return Err(Error::parameter("correlated field", message));
        }
        parameters.slope.validated()?;
        let numbers = grid.half_wave_numbers();
        let (wave_numbers, bin) = distinct(&numbers);
        if wave_numbers.len() < 3 {
            return Err(Error::parameter("correlated field", "the grid has too few modes"));
        }
        let mut multiplicity = vec![0.0; wave_numbers.len()];
        for (i, &bin) in bin.iter().enumerate() {
            multiplicity[bin as usize] += grid.multiplicity(i % grid.half_columns()) as f64;
        }
        let first = wave_numbers[1];
        let ln_k = wave_numbers.iter().map(|&k| if k == 0.0 { 0.0 } else { (k / first).ln() }).collect();
        Ok(CorrelatedField {
            domain: latent_space(name, grid.shape(), &parameters, wave_numbers.len()),
            codomain: Space::single(name, grid.shape(), unit),
            grid: grid.clone(),
            hartley: Hartley::new(grid),
            parameters,
            wave_numbers,
            ln_k,
            multiplicity,
            bin,
        })
    }

    /// Distinct wave numbers of the grid and the power spectrum at a latent point; the first entry is the mean mode.
    ///
    /// # Errors
    /// If the latent has the wrong length.
    pub fn spectrum(&self, latent: &[T]) -> Result<(Vec<f64>, Vec<f64>)> {
        if latent.len() != self.domain.len() {
            return Err(self.wrong_length("input", self.domain.len(), latent.len()));
        }
        let amplitude = Amplitude::at(self, &self.scalars(latent));
        let power = amplitude.ln_a.iter().map(|ln_a| (2.0 * ln_a).exp() * self.grid.volume());
        Ok((self.wave_numbers.clone(), power.collect()))
    }

    fn scalars(&self, latent: &[T]) -> Vec<f64> {
        latent[self.grid.len()..].iter().map(|z| z.f64()).collect()
    }

    fn wrong_length(&self, role: &'static str, expected: usize, found: usize) -> Error {
        Error::Length { operator: Operator::<T>::name(self), role, expected, found }
    }

    /// Entry in the scalars of the flexibility, of the asperity, and of the first pair of the bend.
    fn bend_layout(&self) -> (usize, Option<usize>, usize) {
        let asperity = self.parameters.asperity.is_some();
        (SLOPE + 1, asperity.then_some(SLOPE + 2), SLOPE + 2 + usize::from(asperity))
    }

    /// Distinct wave number of the mode in `row` and `column` of the full grid.
    fn bin_of(&self, row: usize, column: usize) -> usize {
        let folded = column.min(self.grid.columns() - column);
        self.bin[row * self.grid.half_columns() + folded] as usize
    }
}

/// Distinct values, to a relative `1e-12` of the largest, and the place of each number among them.
fn distinct(numbers: &[f64]) -> (Vec<f64>, Vec<u32>) {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let tolerance = 1e-12 * sorted[sorted.len() - 1];
    // Of a run of nearly equal numbers the last stands for all.
    let mut values: Vec<f64> = Vec::new();
    for &k in &sorted {
        match values.last_mut() {
            Some(last) if k - *last <= tolerance => *last = k,
            _ => values.push(k),
        }
    }
    let bin = numbers.iter().map(|&k| values.partition_point(|&v| v + tolerance < k) as u32).collect();
    (values, bin)
}

fn latent_space(
    name: &str,
    shape: &[usize],
    parameters: &CorrelatedFieldParameters,
    distinct: usize,
) -> Space {
    let scalar = |part: &str| Block::new(format!("{name}.{part}"), &[], "");
    let mut blocks = vec![Block::new(format!("{name}.modes"), shape, "")];
    blocks.extend(["offset_std", "fluctuations", "slope"].map(scalar));
    if parameters.flexibility.is_some() {
        blocks.push(scalar("flexibility"));
        if parameters.asperity.is_some() {
            blocks.push(scalar("asperity"));
        }
        blocks.push(Block::new(format!("{name}.bend"), &[distinct - 2, 2], ""));
    }
    Space::new(blocks)
}

/// The amplitude spectrum at a point of the scalar latents, and its derivatives.
#[derive(Default, Clone)]
struct Amplitude {
    scalars: Vec<f64>,
    /// `ln a` for each distinct wave number.
    ln_a: Vec<f64>,
    /// Share of each wave number in the variance: `multiplicity A^2 / sum`.
    share: Vec<f64>,
}

impl Amplitude {
    fn at<T: Real>(field: &CorrelatedField<T>, scalars: &[f64]) -> Amplitude {
        let n = field.ln_k.len();
        let parameters = &field.parameters;
        let slope = parameters.slope.quantile(scalars[SLOPE]);
        let mut ln_a: Vec<f64> = field.ln_k.iter().map(|x| slope * x).collect();
        if let Some(flexibility) = parameters.flexibility {
            let (flex, asperity, first) = field.bend_layout();
            let flexibility = flexibility.quantile(scalars[flex]);
            let roughness = asperity_of(parameters, asperity, scalars).0;
            let bend = wiener(field, flexibility, roughness, &scalars[first..]);
            let last = bend[n - 1] / field.ln_k[n - 1];
            ln_a.iter_mut().zip(&bend).zip(&field.ln_k).for_each(|((y, b), x)| *y += b - last * x);
        }
        let peak = ln_a[1..].iter().fold(f64::NEG_INFINITY, |max, &y| max.max(y));
        let weigh = |i: usize| field.multiplicity[i] * (2.0 * (ln_a[i] - peak)).exp();
        let sum: f64 = (1..n).map(weigh).sum();
        let share = (0..n).map(|i| if i == 0 { 0.0 } else { weigh(i) / sum }).collect();
        let norm = parameters.fluctuations.quantile(scalars[FLUCTUATIONS]).ln() - 0.5 * sum.ln() - peak;
        ln_a.iter_mut().for_each(|y| *y += norm);
        ln_a[0] = parameters.offset_std.quantile(scalars[OFFSET]).ln();
        Amplitude { scalars: scalars.to_vec(), ln_a, share }
    }

    /// `d ln a` from a change of the scalar latents.
    fn push<T: Real>(&self, field: &CorrelatedField<T>, change: &[f64]) -> Vec<f64> {
        let (z, parameters, n) = (&self.scalars, &field.parameters, field.ln_k.len());
        let slope = parameters.slope.slope(z[SLOPE]) * change[SLOPE];
        let mut d: Vec<f64> = field.ln_k.iter().map(|x| slope * x).collect();
        if let Some(flexibility) = parameters.flexibility {
            let (flex, asperity, first) = field.bend_layout();
            let f = flexibility.quantile(z[flex]);
            let (roughness, roughness_slope) = asperity_of(parameters, asperity, z);
            // The bend is linear in its latents and in the flexibility, and smooth in the asperity.
            let mut bend = wiener(field, f, roughness, &change[first..]);
            let by_flexibility =
                wiener(field, flexibility.slope(z[flex]) * change[flex], roughness, &z[first..]);
            bend.iter_mut().zip(by_flexibility).for_each(|(b, d)| *b += d);
            if let Some(asperity) = asperity {
                let by_asperity = wiener_by_roughness(field, f, roughness, &z[first..]);
                let factor = roughness_slope * change[asperity];
                bend.iter_mut().zip(by_asperity).for_each(|(b, d)| *b += factor * d);
            }
            let last = bend[n - 1] / field.ln_k[n - 1];
            d.iter_mut().zip(&bend).zip(&field.ln_k).for_each(|((d, b), x)| *d += b - last * x);
        }
        let mean: f64 = d.iter().zip(&self.share).map(|(d, share)| d * share).sum();
        let fluctuations = log_slope(parameters.fluctuations, z[FLUCTUATIONS]) * change[FLUCTUATIONS];
        d.iter_mut().for_each(|d| *d += fluctuations - mean);
        d[0] = log_slope(parameters.offset_std, z[OFFSET]) * change[OFFSET];
        d
    }

    /// Adjoint of [`push`](Amplitude::push): gathers the gradient of the scalars from that of `ln a`.
    fn pull<T: Real>(&self, field: &CorrelatedField<T>, gradient: &[f64]) -> Vec<f64> {
        let (z, parameters, n) = (&self.scalars, &field.parameters, field.ln_k.len());
        let mut out = vec![0.0; z.len()];
        out[OFFSET] = log_slope(parameters.offset_std, z[OFFSET]) * gradient[0];
        let total: f64 = gradient[1..].iter().sum();
        out[FLUCTUATIONS] = log_slope(parameters.fluctuations, z[FLUCTUATIONS]) * total;
        let mut g: Vec<f64> = gradient.iter().zip(&self.share).map(|(g, share)| g - total * share).collect();
        g[0] = 0.0;
        let against_ln_k: f64 = g.iter().zip(&field.ln_k).map(|(g, x)| g * x).sum();
        out[SLOPE] = parameters.slope.slope(z[SLOPE]) * against_ln_k;
        if let Some(flexibility) = parameters.flexibility {
            let (flex, asperity, first) = field.bend_layout();
            let f = flexibility.quantile(z[flex]);
            let (roughness, roughness_slope) = asperity_of(parameters, asperity, z);
            g[n - 1] -= against_ln_k / field.ln_k[n - 1];
            let pulled = wiener_adjoint(field, f, roughness, &g);
            let along: f64 = pulled.iter().zip(&z[first..]).map(|(p, z)| p * z).sum();
            out[flex] = flexibility.slope(z[flex]) * along / f;
            if let Some(asperity) = asperity {
                let by_roughness = wiener_by_roughness(field, f, roughness, &z[first..]);
                let along: f64 = by_roughness.iter().zip(&g).map(|(b, g)| b * g).sum();
                out[asperity] = roughness_slope * along;
            }
            out[first..].copy_from_slice(&pulled);
        }
        out
    }
}

/// `d ln q / d z` of a positive parameter.
fn log_slope(distribution: Distribution, z: f64) -> f64 {
    distribution.slope(z) / distribution.quantile(z)
}

/// The asperity and its derivative with respect to its latent; zero where there is none.
fn asperity_of(parameters: &CorrelatedFieldParameters, place: Option<usize>, z: &[f64]) -> (f64, f64) {
    match (parameters.asperity, place) {
        (Some(asperity), Some(place)) => (asperity.quantile(z[place]), asperity.slope(z[place])),
        _ => (0.0, 0.0),
    }
}

/// The integrated Wiener process over `ln k` (Arras et al. 2022, eq. 21 ff.): zero at the first two wave numbers;
/// each step of length `dt` draws a change of slope and a change of value.
fn wiener<T: Real>(field: &CorrelatedField<T>, flexibility: f64, asperity: f64, pairs: &[f64]) -> Vec<f64> {
    let n = field.ln_k.len();
    let mut out = vec![0.0; n];
    let (mut value, mut slope) = (0.0, 0.0);
    for (j, pair) in pairs.chunks_exact(2).enumerate() {
        let dt = field.ln_k[j + 2] - field.ln_k[j + 1];
        let strength = flexibility * dt.sqrt();
        let turn = strength * pair[1];
        value += strength * (dt * dt / 12.0 + asperity).sqrt() * pair[0] + dt * (slope + 0.5 * turn);
        slope += turn;
        out[j + 2] = value;
    }
    out
}

/// Derivative of [`wiener`] with respect to the asperity.
fn wiener_by_roughness<T: Real>(
    field: &CorrelatedField<T>,
    flexibility: f64,
    asperity: f64,
    pairs: &[f64],
) -> Vec<f64> {
    let mut out = vec![0.0; field.ln_k.len()];
    let mut value = 0.0;
    for (j, pair) in pairs.chunks_exact(2).enumerate() {
        let dt = field.ln_k[j + 2] - field.ln_k[j + 1];
        value += flexibility * dt.sqrt() * pair[0] * 0.5 / (dt * dt / 12.0 + asperity).sqrt();
        out[j + 2] = value;
    }
    out
}

/// Adjoint of [`wiener`] with respect to the pairs: runs the steps backwards.
fn wiener_adjoint<T: Real>(
    field: &CorrelatedField<T>,
    flexibility: f64,
    asperity: f64,
    gradient: &[f64],
) -> Vec<f64> {
    let n = field.ln_k.len();
    let mut pairs = vec![0.0; 2 * (n - 2)];
    let (mut value, mut slope) = (0.0, 0.0);
    for j in (0..n - 2).rev() {
        let dt = field.ln_k[j + 2] - field.ln_k[j + 1];
        let strength = flexibility * dt.sqrt();
        value += gradient[j + 2];
        pairs[2 * j] = strength * (dt * dt / 12.0 + asperity).sqrt() * value;
        pairs[2 * j + 1] = strength * (slope + 0.5 * dt * value);
        slope += dt * value;
    }
    pairs
}

impl<T: Real> Operator<T> for CorrelatedField<T> {
    fn name(&self) -> String {
        "correlated field".into()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        Box::new(CorrelatedLinearization {
            field: self,
            amplitude: Amplitude::default(),
            half_amplitude: vec![T::zero(); self.grid.half_len()],
            modes: vec![T::zero(); self.grid.len()],
            work: vec![T::zero(); self.grid.len()],
            spectrum: self.hartley.make_spectrum(),
        })
    }
}

struct CorrelatedLinearization<'a, T: Real> {
    field: &'a CorrelatedField<T>,
    amplitude: Amplitude,
    /// `sqrt(N) a(|k|)` on the half spectrum.
    half_amplitude: Vec<T>,
    modes: Vec<T>,
    work: Vec<T>,
    spectrum: Vec<Complex<T>>,
}

impl<T: Real> CorrelatedLinearization<'_, T> {
    fn check(&self, latent: usize, field: usize) -> Result<()> {
        if latent != self.field.domain.len() {
            return Err(self.field.wrong_length("input", self.field.domain.len(), latent));
        }
        if field != self.field.codomain.len() {
            return Err(self.field.wrong_length("output", self.field.codomain.len(), field));
        }
        Ok(())
    }
}

impl<T: Real> Linearization<T> for CorrelatedLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.check(x.len(), y.len())?;
        let field = self.field;
        let n = field.grid.len();
        self.amplitude = Amplitude::at(field, &field.scalars(x));
        let root = (n as f64).sqrt();
        let of_bin: Vec<T> = self.amplitude.ln_a.iter().map(|ln_a| T::of(root * ln_a.exp())).collect();
        for (a, &bin) in self.half_amplitude.iter_mut().zip(&field.bin) {
            *a = of_bin[bin as usize];
        }
        self.modes.copy_from_slice(&x[..n]);
        field.hartley.synthesize(&self.half_amplitude, &self.modes, y, &mut self.spectrum);
        let offset = T::of(field.parameters.offset_mean);
        y.iter_mut().for_each(|y| *y += offset);
        Ok(())
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let field = self.field;
        let (n, columns) = (field.grid.len(), field.grid.columns());
        let d_ln_a = self.amplitude.push(field, &field.scalars(dx));
        for (i, (work, &dx)) in self.work.iter_mut().zip(&dx[..n]).enumerate() {
            *work = dx + T::of(d_ln_a[field.bin_of(i / columns, i % columns)]) * self.modes[i];
        }
        field.hartley.synthesize(&self.half_amplitude, &self.work, dy, &mut self.spectrum);
        Ok(())
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.check(dx.len(), dy.len())?;
        let field = self.field;
        let (n, columns) = (field.grid.len(), field.grid.columns());
        let (modes, scalars) = dx.split_at_mut(n);
        field.hartley.analyze(&self.half_amplitude, dy, modes, &mut self.spectrum);
        let mut gradient = vec![0.0; field.ln_k.len()];
        for (i, (g, mode)) in modes.iter().zip(&self.modes).enumerate() {
            gradient[field.bin_of(i / columns, i % columns)] += g.f64() * mode.f64();
        }
        let pulled = self.amplitude.pull(field, &gradient);
        scalars.iter_mut().zip(pulled).for_each(|(out, value)| *out = T::of(value));
        Ok(())
    }
}
