//! The history of the universe as a table in `ln a`: distances and growth at any time.

use std::sync::Arc;

use crate::growth::{self, Growth, ORDERS, State};
use crate::{Background, DistanceTable, Error, GrowthTable, HUBBLE_DISTANCE, Result, Scalar};

/// `ln a` between nodes. The error of the tables falls as its fourth power, and is below 1e-9.
const STEP: f64 = 0.0125;

/// First node: `a = 1e-5`, where the growing mode is that of matter and radiation alone.
const START: f64 = -11.512_925_464_970_229;

/// Distances and growth functions between `a = 1e-5` and today.
#[derive(Debug, Clone)]
pub struct History<S> {
    background: Background<S>,
    /// Comoving distance from today \[Mpc/h\] at every node.
    distance: Vec<S>,
    /// `dchi / dln a` at every node.
    distance_slope: Vec<S>,
    growth: Vec<State<S>>,
    growth_curvature: Vec<[S; ORDERS]>,
    step: f64,
    /// What is taken from tables instead.
    growth_table: Option<Arc<GrowthTable>>,
    distance_table: Option<Arc<DistanceTable>>,
}

/// By how much, as a share, tables of distances and of the expansion may differ from the universe of the parameters.
const EXPANSION_OFF: f64 = 0.05;

/// The same for the growth since some time.
const GROWTH_OFF: f64 = 0.1;

/// The universe at one time.
#[derive(Debug, Clone, Copy)]
pub struct Instant<S> {
    /// Scale factor.
    pub a: f64,
    /// `H / H0`.
    pub e: S,
    /// First-order growth; `D1 -> a` in a universe of matter alone, not normalised to today.
    pub d1: Growth<S>,
    /// Second order: `D2 -> -3/7 a^2`.
    pub d2: Growth<S>,
    /// Third order, the determinant of the first-order tidal tensor: `-1/3 a^3`.
    pub d3a: Growth<S>,
    /// Third order, first and second order together: `10/21 a^3`.
    pub d3b: Growth<S>,
    /// Third order, transverse: `-1/7 a^3`.
    pub d3c: Growth<S>,
}

impl<S: Scalar> Instant<S> {
    /// `G(a) = a^2 E dD1/dln a`: momentum `a^2 dx/dt` \[H0\] of a unit first-order displacement.
    pub fn momentum_factor(&self) -> S {
        self.e * self.d1.slope * (self.a * self.a)
    }

    /// Logarithmic growth rate `f = dln D1 / dln a`.
    pub fn growth_rate(&self) -> S {
        self.d1.slope / self.d1.d
    }
}

impl History<f64> {
    /// The same history as numbers that may have derivatives, and have none; `background` is that of the same universe.
    pub(crate) fn constant<S: Scalar>(&self, background: Background<S>) -> History<S> {
        let lift = |values: &[f64]| values.iter().map(|&value| S::of(value)).collect();
        let pair = |&(d, slope): &(f64, f64)| (S::of(d), S::of(slope));
        History {
            background,
            distance: lift(&self.distance),
            distance_slope: lift(&self.distance_slope),
            growth: self.growth.iter().map(|state| std::array::from_fn(|i| pair(&state[i]))).collect(),
            growth_curvature: self.growth_curvature.iter().map(|c| c.map(S::of)).collect(),
            step: self.step,
            growth_table: self.growth_table.clone(),
            distance_table: self.distance_table.clone(),
        }
    }

    /// Refuses tables that are those of another universe, or in other units.
    pub(crate) fn check_tables(&self) -> Result<()> {
        let off = |ours: f64, theirs: f64, most: f64| (theirs / ours - 1.0).abs() > most;
        let wrong = |what, message: String| Err(Error::Table { what, line: None, message });
        if let Some(table) = &self.growth_table {
            let today = (table.first(1.0).d, self.integrated_order(1.0, 0).0);
            for a in table.scale_factors() {
                let (ours, theirs) = (self.background.e(a), table.e(a));
                if off(ours, theirs, EXPANSION_OFF) {
                    return wrong(
                        "growth",
                        format!(
                            "at a = {a:.4} E = H / H0 is {theirs:.5}, and {ours:.5} with the parameters of the file"
                        ),
                    );
                }
                let (ours, theirs) = (self.integrated_order(a, 0).0 / today.1, table.first(a).d / today.0);
                if off(ours, theirs, GROWTH_OFF) {
                    return wrong(
                        "growth",
                        format!(
                            "at a = {a:.4} D1 over that of today is {theirs:.5}, and {ours:.5} with the parameters of the file"
                        ),
                    );
                }
            }
        }
        if let Some(table) = &self.distance_table {
            for (z, theirs) in table.rows().filter(|row| row.0 > 0.0) {
                let ours = self.integrated_distance(1.0 / (1.0 + z));
                if off(ours, theirs, EXPANSION_OFF) {
                    return wrong(
                        "distance",
                        format!(
                            "redshift {z} is at {theirs:.2}, and at {ours:.2} Mpc/h with the parameters of the file"
                        ),
                    );
                }
            }
        }
        Ok(())
    }
}

impl<S: Scalar> History<S> {
    /// Integrates distances and growth (Runge-Kutta of fourth order, Simpson for the distance).
    ///
    /// # Errors
    /// If the expansion rate is not positive at some time: the universe bounces or recollapses.
    pub fn new(background: Background<S>) -> Result<History<S>> {
        let nodes = (-START / STEP).ceil() as usize + 1;
        let step = -START / (nodes - 1) as f64;
        let a_at = |half_steps: usize| (START + 0.5 * step * half_steps as f64).exp().min(1.0);
        for i in 0..nodes {
            let e2 = background.e2_and_slope(a_at(2 * i)).0.value();
            if !(e2 > 0.0) {
                let expected =
                    format!("the expansion rate vanishes at a = {:.4} in such a universe", a_at(2 * i));
                return Err(Error::Parameter {
                    name: "omega_k",
                    value: background.omega_k.value(),
                    expected,
                });
            }
        }
        let slope = |half_steps: usize| {
            let a = a_at(half_steps);
            S::of(-HUBBLE_DISTANCE / a) / background.e(a)
        };
        let distance_slope: Vec<S> = (0..nodes).map(|i| slope(2 * i)).collect();
        let mut distance = vec![S::of(0.0); nodes];
        for i in (0..nodes - 1).rev() {
            let simpson = distance_slope[i] + slope(2 * i + 1) * 4.0 + distance_slope[i + 1];
            distance[i] = distance[i + 1] - simpson * (step / 6.0);
        }
        let mut growth = vec![growth::early(&background, a_at(0))];
        let mut growth_curvature = Vec::with_capacity(nodes);
        let mut before = growth::coefficients(&background, a_at(0));
        for i in 0..nodes {
            growth_curvature.push(growth::acceleration(before.0, before.1, &growth[i]));
            if i + 1 < nodes {
                let middle = growth::coefficients(&background, a_at(2 * i + 1));
                let after = growth::coefficients(&background, a_at(2 * i + 2));
                growth.push(growth::runge_kutta(&growth[i], step, [before, middle, after]));
                before = after;
            }
        }
        Ok(History {
            background,
            distance,
            distance_slope,
            growth,
            growth_curvature,
            step,
            growth_table: None,
            distance_table: None,
        })
    }

    /// The same with growth and distances of tables, which are numbers without derivatives. Before the first row of a table the universe goes on as
    /// that of the parameters, joined to it.
    pub(crate) fn with_tables(
        self,
        growth_table: Option<Arc<GrowthTable>>,
        distance_table: Option<Arc<DistanceTable>>,
    ) -> History<S> {
        History { growth_table, distance_table, ..self }
    }

    /// Whether growth or distances are those of tables.
    pub fn is_tabulated(&self) -> bool {
        self.growth_table.is_some() || self.distance_table.is_some()
    }

    /// The expansion behind this history.
    pub fn background(&self) -> &Background<S> {
        &self.background
    }

    /// The interval that holds `ln a`, and the place in it from 0 to 1.
    fn place(&self, a: f64) -> (usize, f64) {
        let x = ((a.ln() - START) / self.step).clamp(0.0, (self.distance.len() - 1) as f64);
        let i = (x as usize).min(self.distance.len() - 2);
        (i, x - i as f64)
    }

    fn hermite(&self, place: (usize, f64), y: impl Fn(usize) -> (S, S)) -> S {
        hermite(place, self.step, y)
    }

    /// Comoving distance \[Mpc/h\] from today to scale factor `a`, which is clamped to `1e-5 ..= 1`.
    pub fn distance(&self, a: f64) -> S {
        let Some(table) = &self.distance_table else { return self.integrated_distance(a) };
        let (last, end) = table.ends();
        let z = 1.0 / a.clamp(START.exp(), 1.0) - 1.0;
        if z <= last {
            return S::of(table.distance(z));
        }
        self.integrated_distance(a) - self.integrated_distance(1.0 / (1.0 + last)) + end
    }

    fn integrated_distance(&self, a: f64) -> S {
        self.hermite(self.place(a), |i| (self.distance[i], self.distance_slope[i]))
    }

    /// The same without derivatives.
    fn distance_value(&self, a: f64) -> f64 {
        hermite(self.place(a), self.step, |i| (self.distance[i].value(), self.distance_slope[i].value()))
    }

    /// Transverse comoving distance \[Mpc/h\]: `sinh(sqrt(omega_k) x) / sqrt(omega_k)` with `x = chi H0 / c`.
    pub fn transverse(&self, distance: S) -> S {
        transverse_distance(self.background.omega_k, distance)
    }

    /// Scale factor at comoving distance `chi` \[Mpc/h\]: the inverse of [`distance`](History::distance), with the
    /// derivatives of the inverse function.
    ///
    /// # Errors
    /// If the distance is negative, or beyond `a = 1e-5`.
    pub fn scale_factor_at(&self, chi: f64) -> Result<S> {
        let Some(table) = &self.distance_table else { return self.integrated_scale_factor(chi) };
        let (last, end) = table.ends();
        if (0.0..=end).contains(&chi) {
            return Ok(S::of(1.0 / (1.0 + table.redshift(chi))));
        }
        self.integrated_scale_factor(chi - end + self.integrated_distance(1.0 / (1.0 + last)).value())
    }

    fn integrated_scale_factor(&self, chi: f64) -> Result<S> {
        let farthest = self.distance[0].value();
        if !(chi >= 0.0 && chi <= farthest) {
            let expected = format!("the table reaches from 0 to {farthest:.1} Mpc/h");
            return Err(Error::Range { what: "comoving distance", value: chi, expected });
        }
        let mut low = 0;
        let mut high = self.distance.len() - 1;
        while high - low > 1 {
            let middle = (low + high) / 2;
            if self.distance[middle].value() > chi { low = middle } else { high = middle }
        }
        let (near, far) = (self.distance[high].value(), self.distance[low].value());
        let mut ln_a = START + self.step * (low as f64 + (far - chi) / (far - near));
        for _ in 0..3 {
            let a = ln_a.exp();
            let slope = -HUBBLE_DISTANCE / (a * self.background.e(a).value());
            ln_a += (chi - self.distance_value(a)) / slope;
        }
        // a(chi; p): dln a/dp = -(dchi/dp) / (dchi/dln a) at fixed chi.
        let a = ln_a.exp();
        let slope = -HUBBLE_DISTANCE / (a * self.background.e(a).value());
        Ok((S::of(ln_a) - (self.integrated_distance(a) - chi) / slope).exp())
    }

    /// Growth functions and expansion rate at scale factor `a`, which is clamped to `1e-5 ..= 1`.
    pub fn instant(&self, a: f64) -> Instant<S> {
        let a = a.clamp(START.exp(), 1.0);
        let (place, (friction, b)) = (self.place(a), growth::coefficients(&self.background, a));
        let state: State<S> = std::array::from_fn(|order| self.order(place, order));
        let second = growth::acceleration(friction, b, &state);
        let mut orders: [Growth<S>; ORDERS] =
            std::array::from_fn(|i| Growth { d: state[i].0, slope: state[i].1, curvature: second[i] });
        let mut e = self.background.e(a);
        if let Some(table) = &self.growth_table {
            let first = self.tabulated(table, a, (state[0].0, state[0].1));
            if table.covers(a) {
                e = S::of(table.e(a));
            }
            // What a table does not have is that of the parameters, times powers of the ratio of both growths.
            let ratio = first.d / orders[0].d;
            let faster = first.slope / first.d - orders[0].slope / orders[0].d;
            for (order, power) in orders.iter_mut().zip([1, 2, 3, 3, 3]) {
                let scale = ratio.powi(power);
                order.slope = (order.slope + order.d * faster * f64::from(power)) * scale;
                (order.d, order.curvature) = (order.d * scale, order.curvature * scale);
            }
            orders[0] = first;
            if let Some(second) = table.second(a).filter(|_| table.covers(a)) {
                let (d, slope) = (S::of(second.d), S::of(second.d * second.f));
                let curvature = b * (d - first.d.powi(2)) - friction * slope;
                orders[1] = Growth { d, slope, curvature };
            }
        }
        let [d1, d2, d3a, d3b, d3c] = orders;
        Instant { a, e, d1, d2, d3a, d3b, d3c }
    }

    /// Growth of the first order from a table, or before its first row from what was integrated, joined to it.
    fn tabulated(&self, table: &GrowthTable, a: f64, (d, slope): (S, S)) -> Growth<S> {
        let (d, slope) = if table.covers(a) {
            let rate = table.first(a);
            (S::of(rate.d), S::of(rate.d * rate.f))
        } else {
            let begins = table.begins();
            let ratio = S::of(table.first(begins).d) / self.integrated_order(begins, 0).0;
            (d * ratio, slope * ratio)
        };
        let (friction, b) = growth::coefficients(&self.background, a);
        Growth { d, slope, curvature: growth::first_acceleration(friction, b, (d, slope)) }
    }

    /// First-order growth alone, as [`instant`](History::instant) has it.
    pub fn first_growth(&self, a: f64) -> Growth<S> {
        let a = a.clamp(START.exp(), 1.0);
        let (d, slope) = self.integrated_order(a, 0);
        if let Some(table) = &self.growth_table {
            return self.tabulated(table, a, (d, slope));
        }
        let (friction, b) = growth::coefficients(&self.background, a);
        Growth { d, slope, curvature: growth::first_acceleration(friction, b, (d, slope)) }
    }

    fn integrated_order(&self, a: f64, order: usize) -> (S, S) {
        self.order(self.place(a), order)
    }

    fn order(&self, place: (usize, f64), order: usize) -> (S, S) {
        (
            self.hermite(place, |i| self.growth[i][order]),
            self.hermite(place, |i| (self.growth[i][order].1, self.growth_curvature[i][order])),
        )
    }
}

/// Cubic interpolation from values and slopes at both ends of an interval.
fn hermite<S: Scalar>((i, t): (usize, f64), step: f64, y: impl Fn(usize) -> (S, S)) -> S {
    let ((y0, s0), (y1, s1)) = (y(i), y(i + 1));
    let (t2, t3) = (t * t, t * t * t);
    y0 * (2.0 * t3 - 3.0 * t2 + 1.0)
        + s0 * (step * (t3 - 2.0 * t2 + t))
        + y1 * (3.0 * t2 - 2.0 * t3)
        + s1 * (step * (t3 - t2))
}

/// `sinh(sqrt(k) x) / sqrt(k)` in Hubble distances, as a series that holds for either sign of the curvature.
fn transverse_distance<S: Scalar>(omega_k: S, distance: S) -> S {
    let argument = omega_k * (distance / HUBBLE_DISTANCE).powi(2);
    let mut term = S::of(1.0);
    let mut sum = term;
    // The first term has a derivative where the others are nothing.
    let size = argument.value().abs();
    let mut left = 1.0;
    for n in 1..30 {
        if left < 1e-20 {
            break;
        }
        left *= size;
        let n = f64::from(n);
        term = term * argument / (2.0 * n * (2.0 * n + 1.0));
        sum += term;
    }
    distance * sum
}
