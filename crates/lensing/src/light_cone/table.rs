//! What a particle's distance says about it, step by step: how far it has drifted, and how much it lenses.

use lookback_cosmology::{Cosmology, History, Kernel, Scalar, Tracer, smooth_step};
use lookback_nbody::{Result, View};

use super::weight::Columns;
use super::{Crossing, Settings};
use crate::cubic;

/// Distance between nodes \[Mpc/h\]; cubic interpolation leaves an error below 1e-9 of the drift. Nodes lie at its multiples,
/// whatever the cosmology: a table whose nodes moved would have a derivative of its own where n(z) has a kink.
const SPACING: f64 = 1.0;

/// Comoving distance \[Mpc/h\] that galaxies may seem to be off in redshift space, either way: their velocities are below
/// 2 % of that of light.
pub(super) const REDSHIFT_REACH: f64 = 60.0;

/// Distance beyond which no map shows anything \[Mpc/h\].
pub(super) fn farthest<S: Scalar>(cosmology: &Cosmology<S>, maps: &[Tracer]) -> f64 {
    let of = |tracer: &Tracer| tracer.farthest(cosmology).value() + redshift_reach(tracer);
    maps.iter().map(of).fold(0.0, f64::max)
}

/// How far from where they are galaxies may have to be looked up.
pub(super) fn reach(maps: &[Tracer]) -> f64 {
    maps.iter().map(redshift_reach).fold(0.0, f64::max)
}

fn redshift_reach(tracer: &Tracer) -> f64 {
    if matches!(tracer, Tracer::Galaxies { redshift_space: true, .. }) { REDSHIFT_REACH } else { 0.0 }
}

/// Functions of the distance from the observer during one view, on equidistant nodes: the drift per momentum since the
/// view, and for each map the [`Columns`] of which the weight of a particle is made.
#[derive(Debug, Clone)]
pub(super) struct Table<S> {
    /// Distance of the first node \[Mpc/h\].
    start: f64,
    /// Where the view is seen \[Mpc/h\].
    pub(super) range: (f64, f64),
    /// Numbers a node: the drift, [`magnification`](Table::magnification) in curved space, then those of each map.
    pub(super) width: usize,
    /// Whether nodes hold the magnification.
    curved: bool,
    pub(super) columns: Vec<Columns>,
    /// Distance at which each map ends \[Mpc/h\].
    ends: Vec<f64>,
    nodes: Vec<S>,
}

/// Column of the drift.
const DRIFT: usize = 0;

/// Column of the magnification, in curved space.
const MAGNIFICATION: usize = 1;

/// Four nodes and their weights: cubic interpolation (Catmull & Rom 1974), and its derivative.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) weights: [f64; 4],
    pub(super) slopes: [f64; 4],
}

/// The edges between views: where each begins and ends to be seen, as scale factors.
pub(super) struct Edges {
    /// Middle and width of the transition before each view; none before the first.
    before: Vec<Option<(f64, f64)>>,
}

impl Edges {
    pub(super) fn new<S>(views: &[View<S>], softness: f64) -> Edges {
        let before = (0..views.len()).map(|i| {
            let shorter = |a: &View<S>, b: &View<S>| (a.to - a.from).min(b.to - b.from);
            (i > 0).then(|| (views[i].from, softness * shorter(&views[i - 1], &views[i])))
        });
        Edges { before: before.collect() }
    }

    /// How much of the light that left at `a` belongs to views from `view` on; the views' shares telescope to one.
    fn since<S: Scalar>(&self, view: usize, a: S) -> S {
        match self.before.get(view) {
            None => S::of(0.0),
            Some(None) => S::of(1.0),
            Some(Some((middle, width))) => smooth_step((a - *middle) / *width + 0.5),
        }
    }

    fn share<S: Scalar>(&self, view: usize, a: S) -> S {
        self.since(view, a) - self.since(view + 1, a)
    }

    /// Scale factors between which a view has a share.
    fn range(&self, view: usize, earliest: f64) -> (f64, f64) {
        let low = self.before[view].map_or(earliest, |(middle, width)| middle - 0.5 * width);
        let high =
            self.before.get(view + 1).copied().flatten().map_or(1.0, |(middle, width)| middle + 0.5 * width);
        (low, high)
    }
}

impl Table<f64> {
    /// The distances \[Mpc/h\] between which a view is seen in a cosmology, and two nodes more on either side, where all
    /// weights are zero between nodes too: a particle fades before it leaves.
    pub(super) fn seen(cosmology: &Cosmology<f64>, edges: &Edges, view: usize, farthest: f64) -> (f64, f64) {
        let earliest = cosmology.history().scale_factor_at(farthest).unwrap_or(1e-4);
        let (low, high) = edges.range(view, earliest);
        let at = |a: f64| cosmology.history().distance(a.min(1.0));
        let (near, far) = (at(high), at(low.max(earliest)).min(farthest));
        if near >= far {
            return (near, near);
        }
        ((near - 2.0 * SPACING).max(0.0), far + 2.0 * SPACING)
    }
}

impl<S: Scalar> Table<S> {
    /// The table of a view that is seen in `range`, on nodes that cover `cover` and what lies within `reach` of it; values and derivatives share their nodes.
    ///
    /// Weight of map `s`: `W_s(d) share(a(d)) taper(d) / (n r(d)^2 pixel)` with `n` the mean number density of particles
    /// \[(h/Mpc)^3\], `r` the transverse distance and `pixel` \[sr\]; that of galaxies is in parts. Nodes hold it times `d^2`, which goes to
    /// zero at the observer as smoothly as `W` does.
    pub(super) fn new(
        cosmology: &Cosmology<S>,
        settings: &Settings,
        maps: &[(&Tracer, Kernel<'_, S>)],
        (view, edges, index): (&View<S>, &Edges, usize),
        (range, cover, reach): ((f64, f64), (f64, f64), f64),
        (density, curved): (f64, bool),
    ) -> Result<Table<S>> {
        let history = cosmology.history();
        let start = (((cover.0 - reach).max(0.0) / SPACING).floor() - 2.0) * SPACING;
        let end = (cover.1 + reach).min(history.distance(0.0).value() - 4.0 * SPACING);
        let count = ((end - start) / SPACING).ceil() as usize + 3;
        let shared = if curved { MAGNIFICATION } else { DRIFT } + 1;
        let columns = Columns::of(maps.iter().map(|(tracer, _)| *tracer), shared);
        let width = columns.last().map_or(shared, |last| last.range().end);
        let mut nodes = Vec::with_capacity(count * width);
        let pixel = settings.sky.pixel();
        for i in 0..count {
            let d = start + SPACING * i as f64;
            let past = history.scale_factor_at(d.abs())?;
            let at = history.first_growth(past.value());
            // The growth at a scale factor that itself depends on the parameters.
            let moved = (past - past.value()) / past.value();
            let (mut a, mut growth) = (past, at.d + moved * at.slope);
            // Nodes in front of the observer only serve the interpolation: there all goes on as it came.
            if d < 0.0 {
                (a, growth) = (S::of(2.0) - a, history.first_growth(1.0).d * 2.0 - growth);
            }
            nodes.push((growth - view.growth) * view.unit);
            let share = match settings.crossing {
                Crossing::Exact => edges.share(index, a),
                Crossing::Lagrangian => S::of(1.0),
            };
            let mut share = share * (settings.taper(d) / (density * pixel));
            if curved {
                let magnification = magnification(history, d);
                nodes.push(magnification);
                share = share * magnification.powi(2);
            }
            for (tracer, kernel) in maps {
                let weight = kernel.continued(S::of(d), a);
                let Tracer::Galaxies { bias, redshift_space, .. } = tracer else {
                    nodes.push(weight * share);
                    continue;
                };
                let velocity = (at.slope + moved * at.curvature) * view.unit;
                nodes.extend([
                    if *redshift_space { velocity } else { S::of(0.0) },
                    weight,
                    share,
                    share * growth * bias.b1,
                    share * growth * growth * (0.5 * bias.b2),
                ]);
            }
        }
        let ends = maps.iter().map(|(_, kernel)| kernel.ends_at()).collect();
        Ok(Table { start, range, width, curved, columns, ends, nodes })
    }

    /// The table of a view that is beyond all sources.
    pub(super) fn empty(range: (f64, f64)) -> Table<S> {
        Table {
            start: range.0,
            range,
            width: 1,
            curved: false,
            columns: Vec::new(),
            ends: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Number of nodes times numbers a node.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn nodes(&self) -> &[S] {
        &self.nodes
    }

    #[inline]
    pub(super) fn place(&self, d: f64) -> Place {
        let last = self.nodes.len() / self.width;
        // `max` takes the number where the other is none.
        let x = ((d - self.start) / SPACING).max(1.0).min((last - 3) as f64 + 0.999_999);
        let i = x as usize;
        let t = x - i as f64;
        let (weights, slopes) = cubic::weights_and_slopes(t);
        Place { first: (i - 1) * self.width, weights, slopes: slopes.map(|slope| slope / SPACING) }
    }
}

impl Table<f64> {
    /// A column at a place, and its derivative with respect to the distance.
    #[inline]
    pub(super) fn read(&self, place: &Place, column: usize) -> (f64, f64) {
        let (mut value, mut slope) = (0.0, 0.0);
        for i in 0..4 {
            let node = self.nodes[place.first + i * self.width + column];
            value += place.weights[i] * node;
            slope += place.slopes[i] * node;
        }
        (value, slope)
    }

    /// A column at a place.
    #[inline]
    pub(super) fn value(&self, place: &Place, column: usize) -> f64 {
        (0..4).map(|i| place.weights[i] * self.nodes[place.first + i * self.width + column]).sum()
    }

    /// The drift per momentum at a place, and its derivative with respect to the distance.
    #[inline]
    pub(super) fn drift(&self, place: &Place) -> (f64, f64) {
        self.read(place, DRIFT)
    }

    /// `d / r(d)` with the transverse distance `r`, and its derivative: by how much larger than `x / d` the angle is under which a length
    /// `x` across the line of sight is seen. One in flat space.
    #[inline]
    pub(super) fn magnification(&self, place: &Place) -> (f64, f64) {
        if self.curved { self.read(place, MAGNIFICATION) } else { (1.0, 0.0) }
    }

    /// The change of the drift per momentum, from a table of changes.
    #[inline]
    pub(super) fn drift_change(&self, changes: &[f64], place: &Place) -> f64 {
        self.read_changes(changes, place, DRIFT)
    }

    /// The change of the magnification.
    #[inline]
    pub(super) fn magnification_change(&self, changes: &[f64], place: &Place) -> f64 {
        if self.curved { self.read_changes(changes, place, MAGNIFICATION) } else { 0.0 }
    }

    /// The transpose of [`drift_change`](Table::drift_change): adds to the cotangent of the nodes.
    #[inline]
    pub(super) fn drift_pull(&self, bar: &mut [f64], place: &Place, given: f64) {
        self.give(bar, place, DRIFT, given);
    }

    /// The transpose of [`magnification_change`](Table::magnification_change).
    #[inline]
    pub(super) fn magnification_pull(&self, bar: &mut [f64], place: &Place, given: f64) {
        if self.curved {
            self.give(bar, place, MAGNIFICATION, given);
        }
    }

    /// Adds to the cotangent of the nodes of a column what is given to it at a place.
    #[inline]
    pub(super) fn give(&self, bar: &mut [f64], place: &Place, column: usize, given: f64) {
        for i in 0..4 {
            bar[place.first + i * self.width + column] += place.weights[i] * given;
        }
    }

    /// The largest drift per momentum, in size.
    pub(super) fn most_drift(&self) -> f64 {
        self.nodes.iter().step_by(self.width).fold(0.0, |most: f64, drift| most.max(drift.abs()))
    }

    /// The largest `r(d) / d`.
    pub(super) fn most_stretch(&self) -> f64 {
        if !self.curved {
            return 1.0;
        }
        let least = self.nodes.chunks(self.width).map(|node| node[MAGNIFICATION]);
        1.0 / least.fold(f64::INFINITY, f64::min)
    }

    /// Whether a map shows anything at the distance `d`.
    #[inline]
    pub(super) fn lenses(&self, source: usize, d: f64) -> bool {
        d < self.ends[source]
    }

    /// Adds to the nodes of a map, in a table like this one, the difference of two tables of which it is part number `part`.
    pub(super) fn add_difference(
        &self,
        nodes: &mut [f64],
        map: usize,
        (one, other, part): (&Table<f64>, &Table<f64>, usize),
    ) {
        if nodes.is_empty() {
            return;
        }
        let (to, from) = (self.columns[map].range(), one.columns[part].range());
        let each =
            nodes.chunks_mut(self.width).zip(one.nodes.chunks(one.width).zip(other.nodes.chunks(one.width)));
        for (out, (one, other)) in each {
            let (one, other) = (&one[from.clone()], &other[from.clone()]);
            for (out, (one, other)) in out[to.clone()].iter_mut().zip(one.iter().zip(other)) {
                *out += one - other;
            }
        }
    }

    /// Reads a column of a table of changes with the same nodes.
    #[inline]
    pub(super) fn read_changes(&self, changes: &[f64], place: &Place, column: usize) -> f64 {
        (0..4).map(|i| place.weights[i] * changes[place.first + i * self.width + column]).sum()
    }
}

/// What a mean density would give: `int W_s share taper dd`, the sum over the views of which is the mean of a map.
///
/// Straight lines between nodes, over the part of each interval that is in the range and in front of a source plane.
pub(super) fn mean<S: Scalar>(table: &Table<S>, map: usize, density_times_pixel: f64) -> S {
    let mut sum = S::of(0.0);
    if table.nodes.is_empty() {
        return sum;
    }
    let count = table.nodes.len() / table.width;
    let at = |i: usize| {
        let d = table.start + SPACING * i as f64;
        let node = &table.nodes[i * table.width..][..table.width];
        let flat = table.columns[map].smooth(node) * density_times_pixel;
        (d, if table.curved { flat / node[MAGNIFICATION].powi(2) } else { flat })
    };
    for i in 1..count {
        let ((d, left), (_, right)) = (at(i - 1), at(i));
        let place = |x: f64| ((x - d) / SPACING).clamp(0.0, 1.0);
        let (from, to) = (place(table.range.0), place(table.range.1.min(table.ends[map])));
        if to > from {
            let middle = left + (right - left) * (0.5 * (from + to));
            sum += middle * ((to - from) * SPACING);
        }
    }
    sum
}

/// `d / r(d)` with the transverse distance `r`, on both sides of the observer.
fn magnification<S: Scalar>(history: &History<S>, d: f64) -> S {
    if d == 0.0 { S::of(1.0) } else { S::of(d.abs()) / history.transverse(S::of(d.abs())) }
}

/// All maps with their weights.
///
/// # Errors
/// If a tracer is out of range.
pub(super) fn kernels<'a, S: Scalar>(
    cosmology: &'a Cosmology<S>,
    maps: &'a [Tracer],
) -> Result<Vec<(&'a Tracer, Kernel<'a, S>)>> {
    maps.iter().map(|tracer| Ok((tracer, Kernel::new(cosmology, tracer)?))).collect()
}
