//! What a particle adds to a map: a column of the table for matter, five for galaxies.

use lookback_cosmology::{Scalar, Tracer};
use lookback_operator::Real;

use super::table::{Place, Table};

/// Where the numbers of a map stand in a node of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Columns {
    /// The weight.
    Matter(usize),
    /// From here on: shift in redshift space per momentum, `n(z) dz/dchi`, and what is seen of a particle at its place: of
    /// itself, per linear density that it began with, and per excess of its square.
    Galaxies(usize),
}

impl Columns {
    /// The columns of all maps, behind those that all maps share.
    pub(super) fn of<'a>(maps: impl Iterator<Item = &'a Tracer>, shared: usize) -> Vec<Columns> {
        let mut next = shared;
        maps.map(|tracer| {
            let columns = match tracer {
                Tracer::Galaxies { .. } => Columns::Galaxies(next),
                _ => Columns::Matter(next),
            };
            next = columns.range().end;
            columns
        })
        .collect()
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        match self {
            Columns::Matter(column) => column..column + 1,
            Columns::Galaxies(first) => first..first + 5,
        }
    }

    /// The weight of a particle at rest that began in mean density, from a node.
    pub(super) fn smooth<S: Scalar>(self, node: &[S]) -> S {
        match self {
            Columns::Matter(column) => node[column],
            Columns::Galaxies(first) => node[first + 1] * node[first + 2],
        }
    }
}

/// The density that particles began in, where a map needs it.
#[derive(Clone, Copy)]
pub(super) struct Birth<'a, T> {
    /// Linear density on the lattice at `D1 = 1`; empty if no map shows galaxies.
    pub(super) density: &'a [T],
    /// Its mean square.
    pub(super) variance: f64,
}

impl<T: Real> Birth<'_, T> {
    /// The density of a particle, and the excess of its square over the mean.
    #[inline]
    pub(super) fn at(&self, particle: usize) -> [f64; 2] {
        match self.density.get(particle) {
            None => [0.0; 2],
            Some(density) => {
                let density = density.f64();
                [density, density * density - self.variance]
            }
        }
    }

    /// The change of the same when density and mean square change by `by`.
    #[inline]
    pub(super) fn change(&self, by: Birth<'_, T>, particle: usize) -> [f64; 2] {
        match (self.density.get(particle), by.density.get(particle)) {
            (Some(density), Some(change)) => {
                let change = change.f64();
                [change, 2.0 * density.f64() * change - by.variance]
            }
            _ => [0.0; 2],
        }
    }

    /// Its transpose: cotangents of the density of a particle and of the mean square.
    #[inline]
    pub(super) fn pull(&self, particle: usize, [density, excess]: [f64; 2]) -> (f64, f64) {
        match self.density.get(particle) {
            None => (0.0, 0.0),
            Some(at) => (density + 2.0 * at.f64() * excess, -excess),
        }
    }
}

/// What a weight depends on.
#[derive(Clone, Copy)]
pub(super) struct Sight {
    /// Where the columns are read.
    pub(super) place: Place,
    /// Distance.
    pub(super) d: f64,
    /// Momentum away from the observer.
    pub(super) away: f64,
    /// Density at birth, and the excess of its square.
    pub(super) birth: [f64; 2],
}

/// A weight and its derivatives.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    pub(super) value: f64,
    pub(super) by_distance: f64,
    pub(super) by_away: f64,
    pub(super) by_birth: [f64; 2],
}

impl Weight {
    /// Its change, from those of distance, momentum away from the observer, and density at birth.
    #[inline]
    pub(super) fn change(&self, distance: f64, away: f64, birth: [f64; 2]) -> f64 {
        self.by_distance * distance
            + self.by_away * away
            + self.by_birth[0] * birth[0]
            + self.by_birth[1] * birth[1]
    }
}

/// What galaxies read from the table.
struct Counted {
    /// Where they seem to be.
    place: Place,
    /// Shift per momentum, and its slope.
    shift: (f64, f64),
    /// `n(z) dz/dchi` there, and its slope.
    number: (f64, f64),
    /// What is seen of the particle: itself, by density, by its square; and the slopes.
    seen: [(f64, f64); 3],
}

impl Counted {
    fn total(&self, birth: [f64; 2]) -> (f64, f64) {
        let [(whole, whole_slope), (linear, linear_slope), (square, square_slope)] = self.seen;
        (
            whole + linear * birth[0] + square * birth[1],
            whole_slope + linear_slope * birth[0] + square_slope * birth[1],
        )
    }
}

impl Table<f64> {
    /// A column over the square of the distance of a particle, and its derivative.
    #[inline]
    fn over_square(&self, sight: &Sight, column: usize) -> (f64, f64) {
        let (value, slope) = self.read(&sight.place, column);
        let inverse = 1.0 / (sight.d * sight.d);
        (value * inverse, (slope - 2.0 * value / sight.d) * inverse)
    }

    #[inline]
    fn counted(&self, first: usize, sight: &Sight) -> Counted {
        let shift = self.read(&sight.place, first);
        let place = if shift.0 == 0.0 { sight.place } else { self.place(sight.d + sight.away * shift.0) };
        let seen = std::array::from_fn(|part| self.over_square(sight, first + 2 + part));
        Counted { place, shift, number: self.read(&place, first + 1), seen }
    }

    /// The weight of a particle for a map.
    #[inline]
    pub(super) fn weight(&self, map: usize, sight: &Sight) -> f64 {
        match self.columns[map] {
            Columns::Matter(column) => self.value(&sight.place, column) / (sight.d * sight.d),
            Columns::Galaxies(first) => {
                let counted = self.counted(first, sight);
                counted.number.0 * counted.total(sight.birth).0
            }
        }
    }

    /// The same with derivatives.
    #[inline]
    pub(super) fn weight_and_slopes(&self, map: usize, sight: &Sight) -> Weight {
        match self.columns[map] {
            Columns::Matter(column) => {
                let (value, by_distance) = self.over_square(sight, column);
                Weight { value, by_distance, by_away: 0.0, by_birth: [0.0; 2] }
            }
            Columns::Galaxies(first) => {
                let counted = self.counted(first, sight);
                let (total, slope) = counted.total(sight.birth);
                let ((shift, shift_slope), (number, number_slope)) = (counted.shift, counted.number);
                Weight {
                    value: number * total,
                    by_distance: number_slope * (1.0 + sight.away * shift_slope) * total + number * slope,
                    by_away: number_slope * shift * total,
                    by_birth: [number * counted.seen[1].0, number * counted.seen[2].0],
                }
            }
        }
    }

    /// The change of a weight when the nodes change.
    #[inline]
    pub(super) fn weight_change(&self, changes: &[f64], map: usize, sight: &Sight) -> f64 {
        let read = |place: &Place, column: usize| self.read_changes(changes, place, column);
        let seen = |column: usize| read(&sight.place, column) / (sight.d * sight.d);
        match self.columns[map] {
            Columns::Matter(column) => seen(column),
            Columns::Galaxies(first) => {
                let counted = self.counted(first, sight);
                let [whole, linear, square] = std::array::from_fn(|part| seen(first + 2 + part));
                let shifted = counted.number.1 * sight.away * read(&sight.place, first);
                (read(&counted.place, first + 1) + shifted) * counted.total(sight.birth).0
                    + counted.number.0 * (whole + linear * sight.birth[0] + square * sight.birth[1])
            }
        }
    }

    /// Its transpose: adds to the cotangent of the nodes what that of a weight, `given`, gives.
    #[inline]
    pub(super) fn weight_pull(&self, bar: &mut [f64], map: usize, sight: &Sight, given: f64) {
        let mut add = |place: &Place, column, given| self.give(bar, place, column, given);
        match self.columns[map] {
            Columns::Matter(column) => add(&sight.place, column, given / (sight.d * sight.d)),
            Columns::Galaxies(first) => {
                let counted = self.counted(first, sight);
                let total = given * counted.total(sight.birth).0;
                add(&counted.place, first + 1, total);
                add(&sight.place, first, counted.number.1 * sight.away * total);
                let number = given * counted.number.0 / (sight.d * sight.d);
                for (part, birth) in [1.0, sight.birth[0], sight.birth[1]].into_iter().enumerate() {
                    add(&sight.place, first + 2 + part, number * birth);
                }
            }
        }
    }
}
