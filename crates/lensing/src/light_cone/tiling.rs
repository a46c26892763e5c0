//! How copies of the box fill the light cone: layers of one box length, each turned, mirrored and shifted as a whole.

use lookback_operator::random::{Purpose, Stream};

/// How the layers are turned and shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiling {
    /// Each layer by one of the 48 symmetries of a cube and a shift, both drawn from the seed, so that a structure is hardly seen twice from the same side
    /// along a line of sight; across a field that is wider than the box it comes again.
    Random {
        /// Seed of the symmetries and shifts.
        seed: u64,
    },
    /// Six permutations of the axes in turn, no mirroring, the line of sight through the middle of a face (MADLens).
    Permutations,
    /// Every layer as it is, the line of sight along the edge of the box.
    Aligned,
}

/// The axes of MADLens, layer by layer.
const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [2, 1, 0], [2, 0, 1], [1, 0, 2], [1, 2, 0]];

/// One layer: sky axes 0 and 1 lie across the line of sight, axis 2 along it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// Number of the layer, counted from the observer.
    pub(super) number: usize,
    /// Axis of the box behind each axis of the sky.
    pub(super) axes: [usize; 3],
    /// Direction of that axis, +1 or -1.
    pub(super) signs: [f64; 3],
    /// Shift along the axis of the sky \[Mpc/h\].
    pub(super) shift: [f64; 3],
}

impl Tiling {
    pub(super) fn layer(self, number: usize, length: f64) -> Layer {
        match self {
            Tiling::Aligned => Layer { number, axes: [0, 1, 2], signs: [1.0; 3], shift: [0.0; 3] },
            Tiling::Permutations => {
                let shift = [-0.5 * length, -0.5 * length, 0.0];
                Layer { number, axes: PERMUTATIONS[number % 6], signs: [1.0; 3], shift }
            }
            Tiling::Random { seed } => {
                let stream = Stream::new(seed, Purpose::Survey, 0x7113);
                let at = |i: u64| stream.uniform(16 * number as u64 + i);
                let sign = |i: u64| if at(i) < 0.5 { 1.0 } else { -1.0 };
                let axes = PERMUTATIONS[(6.0 * at(0)) as usize % 6];
                let shift = [at(4), at(5), at(6)].map(|u| u * length);
                Layer { number, axes, signs: [sign(1), sign(2), sign(3)], shift }
            }
        }
    }
}

impl Layer {
    /// Where a lattice point at `q` along a box axis of the line of sight lies \[Mpc/h\] from the observer.
    pub(super) fn along(&self, q: f64, length: f64) -> f64 {
        let inside = (self.signs[2] * q + self.shift[2]).rem_euclid(length);
        // Rounding may give the length itself.
        let inside = if inside >= length { 0.0 } else { inside };
        inside + self.number as f64 * length
    }

    /// Where it lies across the line of sight: the copy nearest to it.
    pub(super) fn across(&self, axis: usize, q: f64, length: f64) -> f64 {
        let t = self.signs[axis] * q + self.shift[axis];
        t - length * (t / length).round()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn layers_take_all_symmetries_of_a_cube() {
        let tiling = Tiling::Random { seed: 3 };
        let symmetry = |number: usize| {
            let layer = tiling.layer(number, 100.0);
            (layer.axes, layer.signs.map(|sign| sign > 0.0))
        };
        // Each is drawn about twenty times: one is missing once in a billion seeds.
        let seen: BTreeSet<_> = (0..1000).map(symmetry).collect();
        assert_eq!(seen.len(), 48);
        let shifts: Vec<f64> = (0..1000).map(|number| tiling.layer(number, 100.0).shift[1]).collect();
        let mean = shifts.iter().sum::<f64>() / 1000.0;
        assert!((mean - 50.0).abs() < 5.0 && shifts.iter().all(|x| (0.0..100.0).contains(x)), "{mean}");
    }
}
