//! Where a few particles fall on the mesh, and with which weights, computed side by side.
//!
//! Loops here run over arrays of fixed length without branches and write in place, so that compilers make vector
//! instructions of them.

use lookback_operator::Real;

use crate::Cloud;
use crate::cloud::Shape;

/// Particles that are handled together: what is known of them fits the first cache.
pub(crate) const TOGETHER: usize = 32;

/// A number for each of a few particles.
pub(crate) type Few<T> = [T; TOGETHER];

/// Numbers for each point of the window along each axis.
pub(crate) type ByPoint<T> = [[Few<T>; 3]; 3];

/// Displacements beyond this many cells are not followed: they only occur where a simulation has gone astray.
pub(crate) const FARTHEST: f64 = 4e6;

/// Where a few particles of a row of the lattice fall.
pub(crate) struct Places<T> {
    /// The points of the window along each axis, in the box.
    pub(crate) points: ByPoint<u32>,
    /// Their weights.
    pub(crate) weights: ByPoint<T>,
    /// The derivatives of the weights, for a spacing of one.
    pub(crate) slopes: ByPoint<T>,
    /// The place beyond the first point.
    pub(crate) fraction: [Few<T>; 3],
    /// Displacements at the end of a row, where there are fewer.
    few: Few<T>,
    /// What is beyond the mesh point below each point of the lattice, in cells, along an axis.
    rests: Vec<T>,
}

impl<T: Real> Places<T> {
    pub(crate) fn new(cloud: &Cloud) -> Places<T> {
        let nothing = [T::zero(); TOGETHER];
        Places {
            points: [[[0; TOGETHER]; 3]; 3],
            weights: [[nothing; 3]; 3],
            slopes: [[nothing; 3]; 3],
            fraction: [nothing; 3],
            few: nothing,
            rests: cloud.lattice.rests.iter().map(|rest| T::of(*rest)).collect(),
        }
    }

    /// Finds the places of the particles that begin with the one numbered `from` in row `row` of the lattice, with `x` the
    /// displacements of that row; and the slopes, if these are asked for. Places beyond the end of the row are somewhere in
    /// the box.
    #[inline(always)]
    pub(crate) fn find<S: Shape>(
        &mut self,
        cloud: &Cloud,
        row: usize,
        from: usize,
        x: [&[T]; 3],
        slopes: bool,
    ) {
        let side = cloud.side;
        let rests = std::mem::take(&mut self.rests);
        for (axis, index) in [(0, row / side), (1, row % side)] {
            let (point, rest) = (cloud.lattice.points[index], rests[index]);
            self.along::<S>(cloud, (axis, slopes), &x[axis][from..], |_| (point, rest));
        }
        let (points, along) = (&cloud.lattice.points[from..][..TOGETHER], &rests[from..][..TOGETHER]);
        self.along::<S>(cloud, (2, slopes), &x[2][from..], |k| (points[k], along[k]));
        self.rests = rests;
    }

    /// Finds the places along one axis, from displacements and from points of the lattice with what is beyond them.
    #[inline(always)]
    fn along<S: Shape>(
        &mut self,
        cloud: &Cloud,
        (axis, with_slopes): (usize, bool),
        x: &[T],
        lattice: impl Fn(usize) -> (i32, T),
    ) {
        let Places { points, weights, slopes, fraction, few, .. } = self;
        let x: &Few<T> = match x.first_chunk() {
            Some(x) => x,
            None => {
                few[..x.len()].copy_from_slice(x);
                few
            }
        };
        let (scale, shift) = (T::of(cloud.inverse_spacing), T::of(S::SHIFT));
        let (low, high) = (T::of(-FARTHEST), T::of(FARTHEST));
        let cells = cloud.cells as i32;
        let [first, second, third] = &mut points[axis];
        let fraction = &mut fraction[axis];
        let mut outside = false;
        for k in 0..TOGETHER {
            let (point, rest) = lattice(k);
            let place = x[k] * scale + (rest + shift);
            let place = if place < low { low } else { place };
            let (floor, above) = (if place > high { high } else { place }).split_floor();
            fraction[k] = above;
            let point = point + (2 - S::POINTS as i32) + floor;
            // Few particles are outside of the box, and hardly any by more than its length: no division for the others.
            let moved = point + if point < 0 { cells } else { 0 };
            let moved = moved - if moved >= cells { cells } else { 0 };
            first[k] = moved as u32;
            outside |= (moved < 0) | (moved >= cells);
        }
        if outside {
            first.iter_mut().for_each(|point| *point = (*point as i32).rem_euclid(cells) as u32);
        }
        next(first, cells, second);
        if S::POINTS > 2 {
            next(second, cells, third);
        }
        tabulate::<S, T>(fraction, S::weights, &mut weights[axis]);
        if with_slopes {
            tabulate::<S, T>(fraction, S::slopes, &mut slopes[axis]);
        }
    }
}

/// Writes what a function gives for each point of the window.
#[inline(always)]
fn tabulate<S: Shape, T: Real>(fraction: &Few<T>, f: impl Fn(T) -> [T; 3], [a, b, c]: &mut [Few<T>; 3]) {
    for k in 0..TOGETHER {
        let values = f(fraction[k]);
        (a[k], b[k]) = (values[0], values[1]);
        if S::POINTS > 2 {
            c[k] = values[2];
        }
    }
}

/// The next points along an axis, beginning anew at its end.
#[inline(always)]
fn next(points: &Few<u32>, cells: i32, out: &mut Few<u32>) {
    for (out, point) in out.iter_mut().zip(points) {
        let moved = *point + 1;
        *out = if moved >= cells as u32 { moved - cells as u32 } else { moved };
    }
}

/// Products for each particle.
#[inline(always)]
pub(crate) fn multiply<T: Real>(a: &Few<T>, b: &Few<T>, out: &mut Few<T>) {
    for k in 0..TOGETHER {
        out[k] = a[k] * b[k];
    }
}

/// Products for each particle, added to what is there.
#[inline(always)]
pub(crate) fn add_product<T: Real>(a: &Few<T>, b: &Few<T>, out: &mut Few<T>) {
    for k in 0..TOGETHER {
        out[k] += a[k] * b[k];
    }
}
