//! Particles on a mesh: paint and readout with cloud-in-cell weights, and their derivatives.
//!
//! Particles start on a cubic lattice `q` and are known by their displacement, one array a component, in the order of
//! the lattice. Neighbours on the lattice stay near each other, so memory is walked almost in order.

use lookback_operator::{Error, Real, Result};
use rayon::prelude::*;

/// A cubic lattice of particles in a periodic box, and the cubic mesh that they are painted on.
///
/// Cloud-in-cell (Hockney & Eastwood 1988): a particle at `x` gives to the eight mesh points around it the
/// shares `prod_i (1 - |x_i - m_i| / h)`. Mesh points lie at multiples of the spacing `h`; particle `(0, 0, 0)` without
/// displacement lies on mesh point `(0, 0, 0)`.
///
/// Every sum runs in the order of the particles, so results do not depend on the number of threads.
#[derive(Debug, Clone)]
pub struct Cloud {
    side: usize,
    cells: usize,
    inverse_spacing: f64,
    /// Mesh point below each lattice point along an axis, and the rest.
    lattice: Vec<(i64, f64)>,
}

/// Where one particle falls: mesh points on either side along each axis, and its place between them.
struct Corner<T> {
    points: [[usize; 2]; 3],
    fraction: [T; 3],
}

impl<T: Real> Corner<T> {
    /// Weights along each axis.
    #[inline(always)]
    fn weights(&self) -> [[T; 2]; 3] {
        self.fraction.map(|fraction| [T::one() - fraction, fraction])
    }
}

/// What a particle gives to the corners around it: `values * wx * wy * wz`.
struct Share<T, const M: usize> {
    weights: [[T; 2]; 3],
    values: [T; M],
}

impl<T: Real, const M: usize> Share<T, M> {
    #[inline(always)]
    fn at(&self, i: usize, j: usize, k: usize, mesh: usize) -> T {
        self.weights[0][i] * self.weights[1][j] * self.weights[2][k] * self.values[mesh]
    }
}

/// Calls `f(mesh index, wx * wy * wz)` for the eight corners, with the given weights along each axis.
#[inline(always)]
fn for_corners<T: Real>(
    cells: usize,
    points: &[[usize; 2]; 3],
    w: &[[T; 2]; 3],
    mut f: impl FnMut(usize, T),
) {
    for i in 0..2 {
        for j in 0..2 {
            let row = (points[0][i] * cells + points[1][j]) * cells;
            let weight = w[0][i] * w[1][j];
            f(row + points[2][0], weight * w[2][0]);
            f(row + points[2][1], weight * w[2][1]);
        }
    }
}

impl Cloud {
    /// `side^3` particles in a box of `length` on a mesh of `cells^3` points.
    ///
    /// # Errors
    /// If there are fewer than two particles or cells a side, or the length is not positive.
    pub fn new(side: usize, cells: usize, length: f64) -> Result<Cloud> {
        if side < 2 || cells < 2 || !(length.is_finite() && length > 0.0) {
            let message = format!(
                "needs at least 2 particles and 2 cells a side and a positive length, not {side}, {cells} and {length}"
            );
            return Err(Error::parameter("particles on a mesh", message));
        }
        let lattice =
            (0..side).map(|i| ((i * cells / side) as i64, (i * cells % side) as f64 / side as f64)).collect();
        Ok(Cloud { side, cells, inverse_spacing: cells as f64 / length, lattice })
    }

    /// Particles a side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Mesh points a side.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Number of particles.
    pub fn particles(&self) -> usize {
        self.side.pow(3)
    }

    /// Number of mesh points.
    pub fn mesh_len(&self) -> usize {
        self.cells.pow(3)
    }

    /// Unwrapped mesh point below, and the fraction above it.
    #[inline(always)]
    fn below<T: Real>(&self, lattice: usize, displacement: T) -> (i64, T) {
        let (point, rest) = self.lattice[lattice];
        let (floor, fraction) = (displacement * T::of(self.inverse_spacing) + T::of(rest)).split_floor();
        (point + i64::from(floor), fraction)
    }

    #[inline(always)]
    fn wrap(&self, point: i64) -> [usize; 2] {
        let cells = self.cells as i64;
        // Few particles are outside of the box, and hardly any by more than its length: no division for the others.
        let mut first = point;
        if first < 0 {
            first += cells;
        } else if first >= cells {
            first -= cells;
        }
        if first < 0 || first >= cells {
            first = first.rem_euclid(cells);
        }
        let first = first as usize;
        [first, if first + 1 == self.cells { 0 } else { first + 1 }]
    }

    #[inline(always)]
    fn corner<T: Real>(&self, q: [usize; 3], displacement: [T; 3]) -> Corner<T> {
        let mut corner = Corner { points: [[0; 2]; 3], fraction: [T::zero(); 3] };
        for axis in 0..3 {
            let (point, fraction) = self.below(q[axis], displacement[axis]);
            corner.points[axis] = self.wrap(point);
            corner.fraction[axis] = fraction;
        }
        corner
    }

    fn components<'a, T>(&self, vectors: &'a [T]) -> [&'a [T]; 3] {
        let n = self.particles();
        assert_eq!(vectors.len(), 3 * n, "three components for every particle");
        [&vectors[..n], &vectors[n..2 * n], &vectors[2 * n..]]
    }

    /// Calls `f(q, displacement, particle)` along one row of the lattice.
    #[inline(always)]
    fn for_row<T: Real>(&self, row: usize, x: &[&[T]; 3], mut f: impl FnMut(Corner<T>, usize)) {
        let (i, j) = (row / self.side, row % self.side);
        for k in 0..self.side {
            let particle = row * self.side + k;
            f(self.corner([i, j, k], [x[0][particle], x[1][particle], x[2][particle]]), particle);
        }
    }

    /// Lowest and highest unwrapped mesh plane that each row of particles touches.
    fn planes<T: Real>(&self, x: &[T]) -> Vec<(i64, i64)> {
        x.par_chunks(self.side)
            .enumerate()
            .map(|(row, x)| {
                // Comparisons, because `min` of numbers that may be NaN is a call.
                let (mut low, mut high) = (x[0], x[0]);
                for &x in x {
                    low = if x < low { x } else { low };
                    high = if x > high { x } else { high };
                }
                (self.below(row / self.side, low).0, self.below(row / self.side, high).0 + 1)
            })
            .collect()
    }

    /// Writes to `M` meshes what every particle gives, the sum of `K` shares: one task owns a slab of the mesh and walks all particles that touch it, in their order.
    fn scatter<T: Real, const M: usize, const K: usize>(
        &self,
        displacement: &[T],
        meshes: [&mut [T]; M],
        f: impl Fn(usize, &Corner<T>) -> [Share<T, M>; K] + Sync,
    ) {
        let x = self.components(displacement);
        let planes = self.planes(x[0]);
        let cells = self.cells;
        let thickness = cells.div_ceil(4 * rayon::current_num_threads()).max(4);
        let mut slabs: Vec<(usize, Vec<&mut [T]>)> =
            (0..cells.div_ceil(thickness)).map(|slab| (slab * thickness, Vec::with_capacity(M))).collect();
        for mesh in meshes {
            assert_eq!(mesh.len(), self.mesh_len(), "length of the mesh");
            for (slab, part) in slabs.iter_mut().zip(mesh.chunks_mut(thickness * cells * cells)) {
                slab.1.push(part);
            }
        }
        slabs.into_par_iter().for_each(|(first, parts)| {
            let Ok(mut parts) = <[&mut [T]; M]>::try_from(parts) else { return };
            for part in &mut parts {
                part.fill(T::zero());
            }
            let count = parts.first().map_or(0, |part| part.len()) / (cells * cells);
            let inside = |plane: usize| plane >= first && plane < first + count;
            for (row, &(low, high)) in planes.iter().enumerate() {
                let offset = (low - first as i64).rem_euclid(cells as i64);
                if offset >= count as i64 && offset + (high - low) < cells as i64 {
                    continue;
                }
                self.for_row(row, &x, |corner, particle| {
                    let owned = [inside(corner.points[0][0]), inside(corner.points[0][1])];
                    if !(owned[0] || owned[1]) {
                        return;
                    }
                    let shares = f(particle, &corner);
                    for (i, _) in owned.iter().enumerate().filter(|(_, owned)| **owned) {
                        for j in 0..2 {
                            let start = ((corner.points[0][i] - first) * cells + corner.points[1][j]) * cells;
                            for k in 0..2 {
                                for (m, part) in parts.iter_mut().enumerate() {
                                    let gift: T = shares.iter().map(|share| share.at(i, j, k, m)).sum();
                                    part[start + corner.points[2][k]] += gift;
                                }
                            }
                        }
                    }
                });
            }
        });
    }

    /// `mesh(m) = sum_p W(x_p - m)`: counts, whose mean is `(side / cells)^3`.
    pub fn paint<T: Real>(&self, displacement: &[T], mesh: &mut [T]) {
        self.scatter(displacement, [mesh], |_, corner| {
            [Share { weights: corner.weights(), values: [T::one()] }]
        });
    }

    /// `mesh_d(m) = sum_p v_d(p) W(x_p - m)` for three components at once: the transpose of
    /// [`readout`](Cloud::readout).
    pub fn paint_vectors<T: Real>(&self, displacement: &[T], vectors: &[T], meshes: [&mut [T]; 3]) {
        let v = self.components(vectors);
        self.scatter(displacement, meshes, |p, corner| {
            [Share { weights: corner.weights(), values: [v[0][p], v[1][p], v[2][p]] }]
        });
    }

    /// The change of [`paint`](Cloud::paint) when particles move by `tangent`.
    pub fn paint_push<T: Real>(&self, displacement: &[T], tangent: &[T], mesh: &mut [T]) {
        let dx = self.components(tangent);
        let slope = self.slope::<T>();
        self.scatter(displacement, [mesh], |p, corner| {
            std::array::from_fn::<_, 3, _>(|axis| {
                let mut weights = corner.weights();
                weights[axis] = slope;
                Share { weights, values: [dx[axis][p]] }
            })
        });
    }

    /// Derivative of the two weights along an axis.
    fn slope<T: Real>(&self) -> [T; 2] {
        let slope = T::of(self.inverse_spacing);
        [-slope, slope]
    }

    /// Walks the rows of the lattice in parallel, each with its own part of the three components of `out`.
    fn rows<T: Real>(&self, out: &mut [T], f: impl Fn(usize, [&mut [T]; 3]) + Sync) {
        let n = self.particles();
        assert_eq!(out.len(), 3 * n, "three components for every particle");
        let (x, rest) = out.split_at_mut(n);
        let (y, z) = rest.split_at_mut(n);
        let side = self.side;
        let rows = x.par_chunks_mut(side).zip(y.par_chunks_mut(side)).zip(z.par_chunks_mut(side));
        rows.enumerate().with_min_len(8).for_each(|(row, ((x, y), z))| f(row, [x, y, z]));
    }

    /// `v_d(p) = sum_m W(x_p - m) mesh_d(m)` for three meshes at once.
    pub fn readout<T: Real>(&self, displacement: &[T], meshes: [&[T]; 3], vectors: &mut [T]) {
        let x = self.components(displacement);
        self.rows(vectors, |row, out| {
            self.for_row(row, &x, |corner, p| {
                let w = corner.weights();
                let mut sum = [T::zero(); 3];
                for_corners(self.cells, &corner.points, &w, |m, weight| {
                    for (sum, mesh) in sum.iter_mut().zip(&meshes) {
                        *sum += weight * mesh[m];
                    }
                });
                for d in 0..3 {
                    out[d][p % self.side] = sum[d];
                }
            });
        });
    }

    /// Adds `scale * sum_d a_d(p) dv_d(p)/dx_p` of [`readout`](Cloud::readout) to `gradient`.
    pub fn readout_pull<T: Real>(
        &self,
        displacement: &[T],
        meshes: [&[T]; 3],
        cotangent: &[T],
        scale: T,
        gradient: &mut [T],
    ) {
        let (x, a) = (self.components(displacement), self.components(cotangent));
        self.rows(gradient, |row, out| {
            self.for_row(row, &x, |corner, p| {
                let value =
                    |m: usize| a[0][p] * meshes[0][m] + a[1][p] * meshes[1][m] + a[2][p] * meshes[2][m];
                let sum = self.gradient(&corner, value);
                for d in 0..3 {
                    out[d][p % self.side] += scale * sum[d];
                }
            });
        });
    }

    /// Adds `sum_j dx_j(p) dv_d(p)/dx_j` of [`readout`](Cloud::readout) to `tangent`.
    pub fn readout_push<T: Real>(&self, displacement: &[T], meshes: [&[T]; 3], dx: &[T], tangent: &mut [T]) {
        let (x, dx) = (self.components(displacement), self.components(dx));
        self.rows(tangent, |row, out| {
            self.for_row(row, &x, |corner, p| {
                for d in 0..3 {
                    let slopes = self.gradient(&corner, |m| meshes[d][m]);
                    out[d][p % self.side] +=
                        slopes[0] * dx[0][p] + slopes[1] * dx[1][p] + slopes[2] * dx[2][p];
                }
            });
        });
    }

    /// Adds `scale * d/dx_p sum_m W(x_p - m) mesh(m)` to `gradient`: the transpose of [`paint_push`](Cloud::paint_push).
    pub fn paint_pull<T: Real>(&self, displacement: &[T], mesh: &[T], scale: T, gradient: &mut [T]) {
        let x = self.components(displacement);
        self.rows(gradient, |row, out| {
            self.for_row(row, &x, |corner, p| {
                let sum = self.gradient(&corner, |m| mesh[m]);
                for d in 0..3 {
                    out[d][p % self.side] += scale * sum[d];
                }
            });
        });
    }

    /// Gradient with respect to the position of the interpolated `value`.
    #[inline(always)]
    fn gradient<T: Real>(&self, corner: &Corner<T>, value: impl Fn(usize) -> T) -> [T; 3] {
        let w = corner.weights();
        let slope = self.slope::<T>();
        let mut sum = [T::zero(); 3];
        for i in 0..2 {
            for j in 0..2 {
                for k in 0..2 {
                    let m = (corner.points[0][i] * self.cells + corner.points[1][j]) * self.cells
                        + corner.points[2][k];
                    let v = value(m);
                    sum[0] += slope[i] * w[1][j] * w[2][k] * v;
                    sum[1] += w[0][i] * slope[j] * w[2][k] * v;
                    sum[2] += w[0][i] * w[1][j] * slope[k] * v;
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lookback_operator::random::{Purpose, Stream};
    use lookback_operator::vector::dot;

    fn normal(len: usize, substream: u32, scale: f64) -> Vec<f64> {
        let mut x = vec![0.0; len];
        Stream::new(11, Purpose::Test, substream).fill_normal(&mut x);
        x.iter().map(|x| x * scale).collect()
    }

    /// Painting by its definition, a particle at a time over the whole mesh.
    fn paint_slowly(cloud: &Cloud, length: f64, x: &[f64]) -> Vec<f64> {
        let (n, c) = (cloud.side, cloud.cells);
        let h = length / c as f64;
        let mut mesh = vec![0.0; c.pow(3)];
        for p in 0..n.pow(3) {
            let q = [p / (n * n), p / n % n, p % n];
            let place: Vec<f64> =
                (0..3).map(|d| q[d] as f64 * length / n as f64 + x[d * n.pow(3) + p]).collect();
            for (m, out) in mesh.iter_mut().enumerate() {
                let at = [m / (c * c), m / c % c, m % c];
                *out += (0..3)
                    .map(|d| {
                        let gap = (place[d] - at[d] as f64 * h).rem_euclid(length);
                        (1.0 - gap.min(length - gap) / h).max(0.0)
                    })
                    .product::<f64>();
            }
        }
        mesh
    }

    #[test]
    fn paint_agrees_with_the_definition_on_any_number_of_threads() {
        for (side, cells) in [(4, 4), (4, 8), (4, 6), (6, 5)] {
            let cloud = Cloud::new(side, cells, 20.0).expect("a cloud");
            let x = normal(3 * cloud.particles(), 0, 9.0);
            let expected = paint_slowly(&cloud, 20.0, &x);
            let mut first: Option<Vec<f64>> = None;
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let mut mesh = vec![1.0; cloud.mesh_len()];
                pool.install(|| cloud.paint(&x, &mut mesh));
                for (a, b) in mesh.iter().zip(&expected) {
                    assert!((a - b).abs() < 1e-12, "{side} {cells}: {a} {b}");
                }
                assert_eq!(first.get_or_insert_with(|| mesh.clone()), &mesh);
            }
        }
    }

    #[test]
    fn derivatives_are_transposes_and_agree_with_differences() {
        let cloud = Cloud::new(5, 8, 20.0).expect("a cloud");
        let n3 = 3 * cloud.particles();
        let (x, dx, a) = (normal(n3, 1, 3.0), normal(n3, 2, 1.0), normal(n3, 3, 1.0));
        let meshes: Vec<Vec<f64>> = (4..8).map(|s| normal(cloud.mesh_len(), s, 1.0)).collect();
        let three = [&meshes[0][..], &meshes[1], &meshes[2]];
        let h = 1e-6;
        let moved = |sign: f64| -> Vec<f64> { x.iter().zip(&dx).map(|(x, dx)| x + sign * h * dx).collect() };
        let central = |f: &dyn Fn(&[f64]) -> f64| (f(&moved(1.0)) - f(&moved(-1.0))) / (2.0 * h);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} {b}");

        let mut mesh = vec![0.0; cloud.mesh_len()];
        cloud.paint_push(&x, &dx, &mut mesh);
        let pushed = dot(&mesh, &meshes[3]);
        let mut gradient = vec![0.0; n3];
        cloud.paint_pull(&x, &meshes[3], 1.0, &mut gradient);
        close(pushed, dot(&gradient, &dx));
        close(
            pushed,
            central(&|x| {
                let mut mesh = vec![0.0; cloud.mesh_len()];
                cloud.paint(x, &mut mesh);
                dot(&mesh, &meshes[3])
            }),
        );

        let mut tangent = vec![0.0; n3];
        cloud.readout_push(&x, three, &dx, &mut tangent);
        let pushed = dot(&tangent, &a);
        let mut gradient = vec![0.0; n3];
        cloud.readout_pull(&x, three, &a, 1.0, &mut gradient);
        close(pushed, dot(&gradient, &dx));
        let read = |x: &[f64]| {
            let mut v = vec![0.0; n3];
            cloud.readout(x, three, &mut v);
            dot(&v, &a)
        };
        close(pushed, central(&read));

        let mut painted = vec![vec![0.0; cloud.mesh_len()]; 3];
        let [p0, p1, p2] = &mut painted[..] else { unreachable!() };
        cloud.paint_vectors(&x, &a, [p0, p1, p2]);
        let transposed: f64 = painted.iter().zip(three).map(|(p, m)| dot(p, m)).sum();
        close(read(&x), transposed);
    }
}
