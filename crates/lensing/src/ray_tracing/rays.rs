//! Light rays through planes of matter: where they cross each plane, and how they are sheared on the way.

use lookback_mesh::{Grid, RealFft};
use lookback_operator::Real;
use num_complex::Complex;
use rayon::prelude::*;

use crate::cubic;

/// Rays that are gathered apart in the reverse pass. Fixed, so that sums do not depend on the number of threads.
const STRIPS: usize = 8;

/// From two planes to the next one, or to a source: `x = (1 - keep) x_before + keep x_here - bend (what is added here)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step<S> {
    pub(super) keep: S,
    pub(super) bend: S,
}

/// Steps from each plane to the next, and from the last plane in front of each source to the source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Geometry<S> {
    pub(super) between: Vec<Step<S>>,
    pub(super) to_source: Vec<(usize, Step<S>)>,
}

/// Fields on a plane that rays read: deflection (2) and its derivatives `xx, xy, yy` (3).
const FIELDS: usize = 5;

/// Numbers of a ray at a plane: how far it is from where it is seen (2), and the distortion `A - 1` (4, row by row).
const NUMBERS: usize = 6;

/// Numbers of each ray that come out: convergence, shear, rotation.
const OUTPUTS: usize = 4;

/// Transforms and pixels.
pub(super) struct Rays<T: Real> {
    grid: Grid,
    fft: RealFft<T>,
    pixel: f64,
}

/// All rays at one plane, ray by ray.
type State<T> = Vec<[T; NUMBERS]>;

/// The fields of a plane, pixel by pixel.
type Field<T> = Vec<[T; FIELDS]>;

/// Cotangents that a strip of rays gives at one plane.
struct Strip<T> {
    field: Field<T>,
    before: State<f64>,
    here: State<f64>,
    /// Of `keep` and `bend` of every step that leaves the plane.
    steps: Vec<[f64; 2]>,
}

/// The four pixels around a place along an axis: the first of them, weights and slopes.
struct Cubic {
    first: i64,
    weights: [f64; 4],
    slopes: [f64; 4],
}

impl Cubic {
    fn at(u: f64) -> Cubic {
        let floor = u.floor();
        let (weights, slopes) = cubic::weights_and_slopes(u - floor);
        Cubic { first: floor as i64 - 1, weights, slopes }
    }
}

impl<T: Real> Rays<T> {
    pub(super) fn new(grid: Grid) -> Rays<T> {
        Rays { pixel: grid.spacing()[0], fft: RealFft::new(&grid), grid }
    }

    fn start(&self) -> State<T> {
        vec![[T::zero(); NUMBERS]; self.grid.len()]
    }

    /// Factor of a mode for a field: deflection `i k (-2 / k^2)`, derivatives `2 k_i k_j / k^2`.
    fn factor(&self, field: usize, row: usize, column: usize) -> Complex<f64> {
        let [_, ky, kx] = self.grid.wave_vector(row, column);
        let k2 = kx * kx + ky * ky;
        if k2 == 0.0 {
            return Complex::default();
        }
        let n = self.grid.columns();
        // Odd factors have no meaning on a Nyquist line.
        let odd = |k: f64, i: usize| if 2 * i == n { 0.0 } else { k };
        let (ox, oy) = (odd(kx, column), odd(ky, row));
        match field {
            0 => Complex::new(0.0, -2.0 * ox / k2),
            1 => Complex::new(0.0, -2.0 * oy / k2),
            2 => Complex::new(2.0 * kx * kx / k2, 0.0),
            3 => Complex::new(2.0 * ox * oy / k2, 0.0),
            _ => Complex::new(2.0 * ky * ky / k2, 0.0),
        }
    }

    /// The fields of a plane from its map `grad^2 psi / 2`.
    fn fields(&self, plane: &[T]) -> Field<T> {
        let mut spectrum = self.fft.make_spectrum();
        self.fft.forward(plane, &mut spectrum);
        let half = self.grid.half_columns();
        let scale = 1.0 / self.grid.len() as f64;
        let (mut filtered, mut mesh) = (self.fft.make_spectrum(), vec![T::zero(); self.grid.len()]);
        let mut out = vec![[T::zero(); FIELDS]; self.grid.len()];
        for field in 0..FIELDS {
            filtered.par_iter_mut().zip(&spectrum).enumerate().for_each(|(i, (out, mode))| {
                let factor = self.factor(field, i / half, i % half) * scale;
                *out = *mode * Complex::new(T::of(factor.re), T::of(factor.im));
            });
            self.fft.inverse(&mut filtered, &mut mesh);
            out.par_iter_mut().zip(&mesh).for_each(|(out, value)| out[field] = *value);
        }
        out
    }

    /// The transpose of [`fields`](Rays::fields).
    fn fields_adjoint(&self, bar: &[Field<T>], plane: &mut [T]) {
        let half = self.grid.half_columns();
        let scale = 1.0 / self.grid.len() as f64;
        let (mut spectrum, mut total) = (self.fft.make_spectrum(), self.fft.make_spectrum());
        for field in 0..FIELDS {
            let mesh: Vec<T> = (0..self.grid.len())
                .into_par_iter()
                .map(|i| bar.iter().map(|bar| bar[i][field]).sum())
                .collect();
            self.fft.forward(&mesh, &mut spectrum);
            total.par_iter_mut().zip(&spectrum).enumerate().for_each(|(i, (out, mode))| {
                let factor = self.factor(field, i / half, i % half).conj() * scale;
                *out += *mode * Complex::new(T::of(factor.re), T::of(factor.im));
            });
        }
        self.fft.inverse(&mut total, plane);
    }

    /// Where ray `i` crosses a plane, in pixels along columns and rows.
    fn place(&self, i: usize, ray: &[T; NUMBERS]) -> [Cubic; 2] {
        let n = self.grid.columns();
        let at = |start: usize, moved: T| Cubic::at(start as f64 + moved.f64() / self.pixel);
        [at(i % n, ray[0]), at(i / n, ray[1])]
    }

    /// Visits the sixteen pixels around a place: `f(pixel, weight, slope along columns, slope along rows)`.
    #[inline(always)]
    fn around(&self, [x, y]: &[Cubic; 2], mut f: impl FnMut(usize, f64, f64, f64)) {
        let n = self.grid.columns() as i64;
        for j in 0..4 {
            let row = (y.first + j as i64).rem_euclid(n);
            for i in 0..4 {
                let column = (x.first + i as i64).rem_euclid(n);
                let pixel = (row * n + column) as usize;
                f(pixel, x.weights[i] * y.weights[j], x.slopes[i] * y.weights[j], x.weights[i] * y.slopes[j]);
            }
        }
    }

    /// Fields where a ray crosses.
    fn read(&self, field: &Field<T>, place: &[Cubic; 2]) -> [f64; FIELDS] {
        let mut sums = [0.0; FIELDS];
        self.around(place, |pixel, w, _, _| {
            sums.iter_mut().zip(&field[pixel]).for_each(|(sum, value)| *sum += w * value.f64());
        });
        sums
    }

    /// The same with derivatives along columns and rows, by the angle.
    fn read_slopes(&self, field: &Field<T>, place: &[Cubic; 2]) -> [[f64; FIELDS]; 3] {
        let mut sums = [[0.0; FIELDS]; 3];
        let inverse = 1.0 / self.pixel;
        self.around(place, |pixel, w, wx, wy| {
            for (k, value) in field[pixel].iter().enumerate() {
                let value = value.f64();
                sums[0][k] += w * value;
                sums[1][k] += wx * inverse * value;
                sums[2][k] += wy * inverse * value;
            }
        });
        sums
    }

    /// Maps of each source, one after the other, and the rays at each plane.
    pub(super) fn trace(&self, planes: &[T], geometry: &Geometry<f64>, maps: &mut [T]) -> Vec<State<T>> {
        let n = self.grid.len();
        let mut states = vec![self.start()];
        let start = self.start();
        for (j, plane) in planes.chunks(n).enumerate() {
            let field = self.fields(plane);
            let (before, here) = (if j == 0 { &start } else { &states[j - 1] }, &states[j]);
            let added: State<f64> = here
                .par_iter()
                .enumerate()
                .map(|(i, ray)| add(&self.read(&field, &self.place(i, ray)), ray))
                .collect();
            for (source, (last, step)) in geometry.to_source.iter().enumerate() {
                if *last == j {
                    let out = &mut maps[source * OUTPUTS * n..(source + 1) * OUTPUTS * n];
                    for i in 0..n {
                        let end = step.apply(before[i].map(Real::f64), here[i].map(Real::f64), added[i]);
                        for (which, value) in observe(&end).into_iter().enumerate() {
                            out[which * n + i] = T::of(value);
                        }
                    }
                }
            }
            if let Some(step) = geometry.between.get(j) {
                let next = before.par_iter().zip(here).zip(&added).map(|((before, here), added)| {
                    step.apply(before.map(Real::f64), here.map(Real::f64), *added).map(T::of)
                });
                let next = next.collect();
                states.push(next);
            }
        }
        states
    }

    /// Changes of the maps from those of the planes and of the steps.
    pub(super) fn push(
        &self,
        (planes, changes): (&[T], &[T]),
        (geometry, slopes): (&Geometry<f64>, &Geometry<f64>),
        states: &[State<T>],
        maps: &mut [T],
    ) {
        let n = self.grid.len();
        let start = self.start();
        let mut moving = vec![self.start()];
        for (j, (plane, change)) in planes.chunks(n).zip(changes.chunks(n)).enumerate() {
            let (field, moved_field) = (self.fields(plane), self.fields(change));
            let zero = &start;
            let (before, here) = (if j == 0 { zero } else { &states[j - 1] }, &states[j]);
            let (d_before, d_here) = (if j == 0 { zero } else { &moving[j - 1] }, &moving[j]);
            // What is added at this plane, and its change.
            let added: Vec<[[f64; NUMBERS]; 2]> = (0..n)
                .into_par_iter()
                .map(|i| {
                    let place = self.place(i, &here[i]);
                    let [value, by_x, by_y] = self.read_slopes(&field, &place);
                    let mut change = self.read(&moved_field, &place);
                    let (dx, dy) = (d_here[i][0].f64(), d_here[i][1].f64());
                    change.iter_mut().zip(by_x).zip(by_y).for_each(|((c, x), y)| *c += x * dx + y * dy);
                    [add(&value, &here[i]), add_push(&value, &change, &here[i], &d_here[i])]
                })
                .collect();
            let step_push = |step: &Step<f64>, slope: &Step<f64>, i: usize| -> [f64; NUMBERS] {
                let [added, d_added] = added[i];
                let moved = step.apply(d_before[i].map(Real::f64), d_here[i].map(Real::f64), d_added);
                std::array::from_fn(|k| {
                    moved[k] + slope.keep * (here[i][k].f64() - before[i][k].f64()) - slope.bend * added[k]
                })
            };
            for (source, ((last, step), (_, slope))) in
                geometry.to_source.iter().zip(&slopes.to_source).enumerate()
            {
                if *last == j {
                    let out = &mut maps[source * OUTPUTS * n..(source + 1) * OUTPUTS * n];
                    for i in 0..n {
                        for (which, value) in observe(&step_push(step, slope, i)).into_iter().enumerate() {
                            out[which * n + i] = T::of(value);
                        }
                    }
                }
            }
            if let (Some(step), Some(slope)) = (geometry.between.get(j), slopes.between.get(j)) {
                let next = (0..n)
                    .into_par_iter()
                    .map(|i| step_push(step, slope, i).map(T::of))
                    .collect::<State<T>>();
                moving.push(next);
            }
        }
    }

    /// Cotangents of the planes, and of the steps, from those of the maps.
    pub(super) fn pull(
        &self,
        planes: &[T],
        geometry: &Geometry<f64>,
        states: &[State<T>],
        maps_bar: &[T],
        planes_bar: &mut [T],
    ) -> Geometry<f64> {
        let n = self.grid.len();
        let start = self.start();
        let count = states.len();
        let mut bars: Vec<State<f64>> = (0..count).map(|_| vec![[0.0; NUMBERS]; n]).collect();
        let mut start_bar = vec![[0.0; NUMBERS]; n];
        let nothing = Step { keep: 0.0, bend: 0.0 };
        let mut given = Geometry {
            between: vec![nothing; geometry.between.len()],
            to_source: geometry.to_source.iter().map(|(last, _)| (*last, nothing)).collect(),
        };
        for j in (0..count).rev() {
            let field = self.fields(&planes[j * n..(j + 1) * n]);
            let before = if j == 0 { &start } else { &states[j - 1] };
            let here = &states[j];
            // Rays leave this plane towards the next one and towards sources: all that comes back.
            let mut leaving: Vec<(Step<f64>, State<f64>, usize)> = Vec::new();
            if j + 1 < count {
                leaving.push((geometry.between[j], std::mem::take(&mut bars[j + 1]), usize::MAX));
            }
            for (source, (last, step)) in geometry.to_source.iter().enumerate() {
                if *last == j {
                    let bar = &maps_bar[source * OUTPUTS * n..(source + 1) * OUTPUTS * n];
                    let of = |i: usize| observe_adjoint(std::array::from_fn(|w| bar[w * n + i].f64()));
                    leaving.push((*step, (0..n).map(of).collect(), source));
                }
            }
            let strip = n.div_ceil(STRIPS);
            let parts: Vec<Strip<T>> = (0..STRIPS)
                .into_par_iter()
                .map(|part| {
                    let range = (part * strip).min(n)..((part + 1) * strip).min(n);
                    let mut field_bar = vec![[T::zero(); FIELDS]; n];
                    let (mut before_bar, mut here_bar) = (Vec::new(), Vec::new());
                    let mut steps = vec![[0.0; 2]; leaving.len()];
                    for i in range {
                        let place = self.place(i, &here[i]);
                        let [value, by_x, by_y] = self.read_slopes(&field, &place);
                        let added = add(&value, &here[i]);
                        let (mut to_before, mut to_here, mut to_added) =
                            ([0.0; NUMBERS], [0.0; NUMBERS], [0.0; NUMBERS]);
                        for ((step, bar, _), sums) in leaving.iter().zip(&mut steps) {
                            for k in 0..NUMBERS {
                                let b = bar[i][k];
                                to_before[k] += (1.0 - step.keep) * b;
                                to_here[k] += step.keep * b;
                                to_added[k] -= step.bend * b;
                                sums[0] += b * (here[i][k].f64() - before[i][k].f64());
                                sums[1] -= b * added[k];
                            }
                        }
                        let (value_bar, direct) = add_adjoint(&value, &here[i], &to_added);
                        to_here.iter_mut().zip(direct).for_each(|(sum, direct)| *sum += direct);
                        for k in 0..FIELDS {
                            to_here[0] += value_bar[k] * by_x[k];
                            to_here[1] += value_bar[k] * by_y[k];
                        }
                        self.around(&place, |pixel, w, _, _| {
                            for (sum, bar) in field_bar[pixel].iter_mut().zip(value_bar) {
                                *sum += T::of(w * bar);
                            }
                        });
                        before_bar.push(to_before);
                        here_bar.push(to_here);
                    }
                    Strip { field: field_bar, before: before_bar, here: here_bar, steps }
                })
                .collect();
            let target = if j == 0 { &mut start_bar } else { &mut bars[j - 1] };
            for (i, bar) in parts.iter().flat_map(|part| &part.before).enumerate() {
                target[i].iter_mut().zip(bar).for_each(|(sum, bar)| *sum += bar);
            }
            for (i, bar) in parts.iter().flat_map(|part| &part.here).enumerate() {
                bars[j][i].iter_mut().zip(bar).for_each(|(sum, bar)| *sum += bar);
            }
            for (which, (_, _, source)) in leaving.iter().enumerate() {
                let sum = |k: usize| parts.iter().map(|part| part.steps[which][k]).sum();
                let step = Step { keep: sum(0), bend: sum(1) };
                match given.to_source.get_mut(*source) {
                    Some((_, given)) => *given = step,
                    None => given.between[j] = step,
                }
            }
            let field_bars: Vec<Field<T>> = parts.into_iter().map(|part| part.field).collect();
            self.fields_adjoint(&field_bars, &mut planes_bar[j * n..(j + 1) * n]);
        }
        given
    }
}

impl Step<f64> {
    fn apply(&self, before: [f64; NUMBERS], here: [f64; NUMBERS], added: [f64; NUMBERS]) -> [f64; NUMBERS] {
        std::array::from_fn(|k| (1.0 - self.keep) * before[k] + self.keep * here[k] - self.bend * added[k])
    }
}

/// What a plane adds to a ray: its deflection, and `U (1 + D)` with the derivatives `U` of the deflection.
fn add<T: Real>([ax, ay, xx, xy, yy]: &[f64; FIELDS], ray: &[T; NUMBERS]) -> [f64; NUMBERS] {
    let [_, _, a, b, c, d] = ray.map(Real::f64);
    [
        *ax,
        *ay,
        xx * (1.0 + a) + xy * c,
        xx * b + xy * (1.0 + d),
        xy * (1.0 + a) + yy * c,
        xy * b + yy * (1.0 + d),
    ]
}

fn add_push<T: Real>(
    value: &[f64; FIELDS],
    change: &[f64; FIELDS],
    ray: &[T; NUMBERS],
    moved: &[T; NUMBERS],
) -> [f64; NUMBERS] {
    let by_field = add(change, ray);
    let [_, _, xx, xy, yy] = *value;
    let [_, _, a, b, c, d] = moved.map(Real::f64);
    let by_ray = [0.0, 0.0, xx * a + xy * c, xx * b + xy * d, xy * a + yy * c, xy * b + yy * d];
    std::array::from_fn(|k| by_field[k] + by_ray[k])
}

/// Cotangents of the fields and of the ray, from that of what is added.
fn add_adjoint<T: Real>(
    [_, _, xx, xy, yy]: &[f64; FIELDS],
    ray: &[T; NUMBERS],
    bar: &[f64; NUMBERS],
) -> ([f64; FIELDS], [f64; NUMBERS]) {
    let [_, _, a, b, c, d] = ray.map(Real::f64);
    let [x, y, p, q, r, s] = *bar;
    let fields =
        [x, y, p * (1.0 + a) + q * b, p * c + q * (1.0 + d) + r * (1.0 + a) + s * b, r * c + s * (1.0 + d)];
    (fields, [0.0, 0.0, xx * p + xy * r, xx * q + xy * s, xy * p + yy * r, xy * q + yy * s])
}

/// Convergence, shear and rotation from `A - 1 = D`: `A = [[1 - kappa - gamma1, -gamma2 + omega], [-gamma2 - omega,
/// 1 - kappa + gamma1]]`.
fn observe([_, _, a, b, c, d]: &[f64; NUMBERS]) -> [f64; OUTPUTS] {
    [-0.5 * (a + d), -0.5 * (a - d), -0.5 * (b + c), 0.5 * (b - c)]
}

fn observe_adjoint([kappa, gamma1, gamma2, omega]: [f64; OUTPUTS]) -> [f64; NUMBERS] {
    [
        0.0,
        0.0,
        -0.5 * (kappa + gamma1),
        0.5 * (omega - gamma2),
        -0.5 * (gamma2 + omega),
        0.5 * (gamma1 - kappa),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Born's approximation leaves out is of second order, and so is the rotation.
    #[test]
    fn half_the_lenses_leave_a_quarter_beyond_born() {
        let n = 32;
        let pixel = 1e-3;
        let rays = Rays::<f64>::new(Grid::sky(n, n, pixel).expect("a grid"));
        let step = |keep: f64, bend: f64| Step { keep, bend };
        // Three planes at a quarter, a half and three quarters of the way.
        let geometry = Geometry {
            between: vec![step(1.0, 0.5), step(4.0 / 3.0, 1.0 / 3.0)],
            to_source: vec![(2, step(1.5, 0.25))],
        };
        let beyond = |amplitude: f64| {
            let wave = |i: usize, plane: usize| {
                let turn = |j: usize| std::f64::consts::TAU * j as f64 / n as f64;
                let (x, y) = (turn(i % n), turn(i / n));
                let phase = plane as f64;
                amplitude * ((2.0 * x + y + phase).cos() + (x - 3.0 * y + 2.0 * phase).sin())
            };
            let planes: Vec<f64> = (0..3 * n * n).map(|i| wave(i % (n * n), i / (n * n))).collect();
            let mut maps = vec![0.0; 4 * n * n];
            rays.trace(&planes, &geometry, &mut maps);
            let share = [0.75, 0.5, 0.25];
            let off = |i: usize| (0..3).map(|p| share[p] * planes[p * n * n + i]).sum::<f64>() - maps[i];
            let rms = |f: &dyn Fn(usize) -> f64| (0..n * n).map(|i| f(i).powi(2)).sum::<f64>().sqrt();
            (rms(&off), rms(&|i| maps[3 * n * n + i]))
        };
        let (strong, weak) = (beyond(2e-3), beyond(1e-3));
        for (strong, weak) in [(strong.0, weak.0), (strong.1, weak.1)] {
            assert!((strong / weak - 4.0).abs() < 0.1 && weak > 0.0, "{strong} {weak}");
        }
    }

    /// Two sinusoidal planes: everything is known in closed form.
    #[test]
    fn two_planes_of_one_wave_each_are_traced_as_in_closed_form() {
        let n = 256;
        let pixel = 1e-4;
        let grid = Grid::sky(n, n, pixel).expect("a grid");
        let rays = Rays::<f64>::new(grid);
        let length = n as f64 * pixel;
        let (k1, k2) = (std::f64::consts::TAU * 2.0 / length, std::f64::consts::TAU * 3.0 / length);
        let (s1, s2) = (0.02, 0.03);
        // kappa_1 = s1 cos(k1 x), kappa_2 = s2 cos(k2 y + k2 x).
        let mut planes = vec![0.0; 2 * n * n];
        for i in 0..n * n {
            let (x, y) = ((i % n) as f64 * pixel, (i / n) as f64 * pixel);
            planes[i] = s1 * (k1 * x).cos();
            planes[n * n + i] = s2 * (k2 * (x + y)).cos();
        }
        let (between, last) = (Step { keep: 1.0, bend: 0.4 }, Step { keep: 1.3, bend: 0.25 });
        let geometry = Geometry { between: vec![between], to_source: vec![(1, last)] };
        let mut maps = vec![0.0; 4 * n * n];
        rays.trace(&planes, &geometry, &mut maps);
        for i in (0..n * n).step_by(997) {
            let (x, y) = ((i % n) as f64 * pixel, (i / n) as f64 * pixel);
            // psi'' = 2 kappa: alpha_x = 2 s1 sin(k1 x) / k1, U_xx = 2 s1 cos(k1 x).
            let (a1, u1) = (2.0 * s1 * (k1 * x).sin() / k1, 2.0 * s1 * (k1 * x).cos());
            let beta = x - between.bend * a1;
            let d1 = -between.bend * u1;
            // On the second plane the wave runs along the diagonal: U = s2 cos(...) [[1, 1], [1, 1]].
            let u2 = s2 * (k2 * (beta + y)).cos();
            let d = [
                last.keep * d1 - last.bend * u2 * (1.0 + d1),
                -last.bend * u2,
                -last.bend * u2 * (1.0 + d1),
                -last.bend * u2,
            ];
            let expected = observe(&[0.0, 0.0, d[0], d[1], d[2], d[3]]);
            for (which, value) in expected.into_iter().enumerate() {
                let found = maps[which * n * n + i];
                // What cubic interpolation leaves of a wave of sixty pixels.
                assert!((found - value).abs() < 2e-7, "ray {i}, {which}: {found} {value}");
            }
        }
    }
}
