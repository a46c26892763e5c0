//! What a particle's distance says about it, step by step: how far it has drifted, and how much it lenses.

use lookback_cosmology::{Cosmology, Efficiency, Scalar, Sources};
use lookback_nbody::{Result, View};

use super::{Crossing, Settings};

/// Distance between nodes \[Mpc/h\] at most; cubic interpolation leaves an error below 1e-9 of the drift.
const SPACING: f64 = 1.0;

/// Functions of the distance from the observer during one view, on equidistant nodes: the drift per momentum since the
/// view, and the weight of a particle for each source.
#[derive(Debug, Clone)]
pub(super) struct Table<S> {
    /// Distance of the first node \[Mpc/h\].
    start: f64,
    spacing: f64,
    /// Where the view is seen \[Mpc/h\].
    pub(super) range: (f64, f64),
    /// Numbers a node: the drift, then the weights.
    pub(super) width: usize,
    /// Distance at which each source ends \[Mpc/h\].
    ends: Vec<f64>,
    nodes: Vec<S>,
}

/// Four nodes and their weights: cubic interpolation (Catmull & Rom 1974), and its derivative.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) first: usize,
    pub(super) weights: [f64; 4],
    pub(super) slopes: [f64; 4],
}

/// `6 t^5 - 15 t^4 + 10 t^3` between 0 and 1: a step with two continuous derivatives.
pub(super) fn smooth_step<S: Scalar>(t: S) -> S {
    match t.value() {
        v if v <= 0.0 => S::of(0.0),
        v if v >= 1.0 => S::of(1.0),
        _ => t.powi(3) * ((t * 6.0 - 15.0) * t + 10.0),
    }
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
    /// The distances \[Mpc/h\] between which a view is seen in a cosmology.
    pub(super) fn seen(cosmology: &Cosmology<f64>, edges: &Edges, view: usize, farthest: f64) -> (f64, f64) {
        let earliest = cosmology.history().scale_factor_at(farthest).unwrap_or(1e-4);
        let (low, high) = edges.range(view, earliest);
        let history = cosmology.history();
        (history.distance(high.min(1.0)), history.distance(low.max(earliest)).min(farthest))
    }
}

impl<S: Scalar> Table<S> {
    /// The table of a view on nodes that cover `range`, so that values and derivatives share their nodes.
    ///
    /// Weight of source `s`: `W_s(d) share(a(d)) taper(d) / (n d^2 pixel)` with `n` the mean number density of particles
    /// \[(h/Mpc)^3\] and `pixel` \[sr\].
    pub(super) fn new(
        cosmology: &Cosmology<S>,
        settings: &Settings,
        sources: &[Efficiency<'_, S>],
        (view, edges, index): (&View<S>, &Edges, usize),
        range: (f64, f64),
        density: f64,
    ) -> Result<Table<S>> {
        let count = ((range.1 - range.0) / SPACING).ceil().max(8.0) as usize;
        let spacing = (range.1 - range.0) / count as f64;
        let start = range.0 - 2.0 * spacing;
        let history = cosmology.history();
        let width = 1 + sources.len();
        let mut nodes = Vec::with_capacity((count + 5) * width);
        let pixel = settings.pixel();
        for i in 0..count + 5 {
            let d = start + spacing * i as f64;
            // Nodes in front of the observer only serve the interpolation: a mirrored past.
            let a = history.scale_factor_at(d.abs())?;
            let at = cosmology.instant(a.value());
            // The growth at a scale factor that itself depends on the parameters.
            let growth = at.d1.d + (a - a.value()) * at.d1.slope / a.value();
            nodes.push((growth - view.growth) * view.unit);
            let share = match settings.crossing {
                Crossing::Exact => edges.share(index, a),
                Crossing::Lagrangian => S::of(1.0),
            };
            let taper = settings.taper(d);
            for source in sources {
                let weight = source.continued(S::of(d.max(0.0)), a) * share;
                let geometry = if d > 0.0 { taper / (density * d * d * pixel) } else { 0.0 };
                nodes.push(weight * geometry);
            }
        }
        let ends = sources.iter().map(Efficiency::ends_at).collect();
        Ok(Table { start, spacing, range, width, ends, nodes })
    }

    /// The table of a view that is beyond all sources.
    pub(super) fn empty(range: (f64, f64), width: usize) -> Table<S> {
        Table { start: range.0, spacing: 1.0, range, width, ends: Vec::new(), nodes: Vec::new() }
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
        let x = ((d - self.start) / self.spacing).clamp(1.0, (last - 3) as f64 + 0.999_999);
        let i = x as usize;
        let t = x - i as f64;
        let (t2, t3) = (t * t, t * t * t);
        let inverse = 1.0 / self.spacing;
        Place {
            first: (i - 1) * self.width,
            weights: [
                -0.5 * t3 + t2 - 0.5 * t,
                1.5 * t3 - 2.5 * t2 + 1.0,
                -1.5 * t3 + 2.0 * t2 + 0.5 * t,
                0.5 * t3 - 0.5 * t2,
            ],
            slopes: [
                (-1.5 * t2 + 2.0 * t - 0.5) * inverse,
                (4.5 * t2 - 5.0 * t) * inverse,
                (-4.5 * t2 + 4.0 * t + 0.5) * inverse,
                (1.5 * t2 - t) * inverse,
            ],
        }
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

    /// The largest drift per momentum, in size.
    pub(super) fn most_drift(&self) -> f64 {
        self.nodes.iter().step_by(self.width).fold(0.0, |most: f64, drift| most.max(drift.abs()))
    }

    /// Whether a source lies behind the distance `d`.
    #[inline]
    pub(super) fn lenses(&self, source: usize, d: f64) -> bool {
        d < self.ends[source]
    }

    /// Reads all columns of a table of changes with the same nodes.
    #[inline]
    pub(super) fn read_changes(&self, changes: &[f64], place: &Place, column: usize) -> f64 {
        (0..4).map(|i| place.weights[i] * changes[place.first + i * self.width + column]).sum()
    }
}

/// What a mean density would give: `int W_s share taper dd`, the sum over the views of which is the mean of a map.
///
/// The nodes at the ends of the range have index 2 and count - 3. Trapezia between nodes; the piece in front of a source
/// plane that lies between two nodes is a triangle.
pub(super) fn mean<S: Scalar>(table: &Table<S>, source: usize, density_times_pixel: f64) -> S {
    let count = table.nodes.len() / table.width;
    let mut sum = S::of(0.0);
    if count == 0 {
        return sum;
    }
    let at = |i: usize| {
        let d = table.start + table.spacing * i as f64;
        (d, table.nodes[i * table.width + 1 + source] * (density_times_pixel * d * d))
    };
    for i in 2..count - 3 {
        let ((d, left), (_, right)) = (at(i), at(i + 1));
        let covered = ((table.ends[source] - d) / table.spacing).clamp(0.0, 1.0);
        // The integral of a straight line over the part of the interval in front of the source.
        let middle = left + (right - left) * (0.5 * covered);
        sum += middle * (covered * table.spacing);
    }
    sum
}

/// Efficiencies of all sources.
///
/// # Errors
/// If a source is out of range.
pub(super) fn efficiencies<'a, S: Scalar>(
    cosmology: &'a Cosmology<S>,
    sources: &[Sources],
) -> Result<Vec<Efficiency<'a, S>>> {
    sources.iter().map(|source| Ok(Efficiency::new(cosmology, source)?)).collect()
}
