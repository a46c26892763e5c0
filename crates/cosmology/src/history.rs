//! The history of the universe as a table in `ln a`: distances and growth at any time.

use std::sync::Arc;

use crate::growth::{self, Growth, ORDERS, State};
use crate::history_table::{DISTANCE, GROWTH};
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

/// By how much, as a share, rows of tables may differ from the universe of the parameters: in expansion and distances, and in growth.
const EXPANSION_OFF: f64 = 0.01;
const GROWTH_OFF: f64 = 0.03;

/// The same in the middle between two rows, where they are interpolated.
const BETWEEN_OFF: f64 = 0.06;

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

    /// Refuses tables that are those of another universe, in other units, or too coarse to be interpolated.
    pub(crate) fn check_tables(&self) -> Result<()> {
        if let Some(table) = &self.growth_table {
            for (a, between) in with_middles(&table.scale_factors()) {
                self.check_growth(table, a, between)?;
            }
        }
        if let Some(table) = &self.distance_table {
            for (z, between) in with_middles(table.redshifts()).into_iter().filter(|(z, _)| *z > 0.0) {
                let ours = self.integrated_distance(1.0 / (1.0 + z));
                let most = if between { BETWEEN_OFF } else { EXPANSION_OFF };
                compare(
                    (DISTANCE, between),
                    ("redshift", z),
                    "the distance [Mpc/h]",
                    [table.distance(z), ours],
                    most,
                )?;
            }
        }
        Ok(())
    }

    fn check_growth(&self, table: &GrowthTable, a: f64, between: bool) -> Result<()> {
        let off = |most: f64| if between { BETWEEN_OFF } else { most };
        let check =
            |what: &str, pair: [f64; 2], most| compare((GROWTH, between), ("a", a), what, pair, off(most));
        let ((d1, slope1), (d2, slope2)) = (self.integrated_order(a, 0), self.integrated_order(a, 1));
        check("E = H / H0", [table.e(a), self.background.e(a)], EXPANSION_OFF)?;
        let first = table.first(a);
        check("D1 (that of the first row taken for exact)", [first.d, d1], GROWTH_OFF)?;
        check("dln D1 / dln a", [first.f, slope1 / d1], GROWTH_OFF)?;
        let Some(second) = table.second(a) else { return Ok(()) };
        check("D2 (in the unit of D1)", [second.d, d2], 2.0 * GROWTH_OFF)?;
        check("dln D2 / dln a", [second.f, slope2 / d2], GROWTH_OFF)
    }
}

/// Rows, and the places in the middle between two of them.
fn with_middles(rows: &[f64]) -> Vec<(f64, bool)> {
    let middles = rows.windows(2).map(|pair| (0.5 * (pair[0] + pair[1]), true));
    rows.iter().map(|&row| (row, false)).chain(middles).collect()
}

/// Refuses what is off by more than a share.
fn compare(
    (what, between): (&'static str, bool),
    (name, place): (&str, f64),
    quantity: &str,
    [theirs, ours]: [f64; 2],
    most: f64,
) -> Result<()> {
    if (theirs / ours - 1.0).abs() <= most {
        return Ok(());
    }
    let whose = if between { ", between rows," } else { "" };
    let message = format!(
        "at {name} = {place:.5}{whose} {quantity} is {theirs:.6}, and {ours:.6} with the parameters of the cosmology"
    );
    Err(Error::Table { what, line: None, message })
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

    /// The same with growth and distances of tables, which are numbers without derivatives. Before the first row of growth, and beyond the last
    /// distance, the universe is that of the parameters: `D1` and distances are continued there.
    pub(crate) fn with_tables(
        self,
        growth_table: Option<Arc<GrowthTable>>,
        distance_table: Option<Arc<DistanceTable>>,
    ) -> History<S> {
        let in_our_unit = |table: Arc<GrowthTable>| {
            let begins = table.begins();
            Arc::new(table.scaled(self.integrated_order(begins, 0).0.value() / table.first(begins).d))
        };
        let growth_table = growth_table.map(in_our_unit);
        History { growth_table, distance_table, ..self }
    }

    /// Scale factor of the first row of a table of growth.
    pub fn tabulated_since(&self) -> Option<f64> {
        self.growth_table.as_ref().map(|table| table.begins())
    }

    /// `H / H0` at scale factor `a` as momenta know it: that of a table of growth, if there is one.
    pub fn e(&self, a: f64) -> S {
        match &self.growth_table {
            Some(table) if table.covers(a) => S::of(table.e(a)),
            _ => self.background.e(a),
        }
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
            let width = |z: f64| HUBBLE_DISTANCE / self.background.e(1.0 / (1.0 + z)).value();
            return Ok(S::of(1.0 / (1.0 + table.redshift(chi, width))));
        }
        let beyond = self.integrated_distance(1.0 / (1.0 + last)).value() - end;
        let farthest = self.distance[0].value() - beyond;
        if !(chi >= 0.0 && chi <= farthest) {
            return out_of_reach(chi, farthest);
        }
        self.integrated_scale_factor(chi + beyond)
    }

    fn integrated_scale_factor(&self, chi: f64) -> Result<S> {
        let farthest = self.distance[0].value();
        if !(chi >= 0.0 && chi <= farthest) {
            return out_of_reach(chi, farthest);
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
        if let Some(table) = self.growth_table.as_ref().filter(|table| table.covers(a)) {
            let first = tabulated(table, a, (friction, b));
            // What a table does not have is that of the parameters, times powers of the ratio of both growths.
            let ratio = first.d / orders[0].d;
            let faster = first.slope / first.d - orders[0].slope / orders[0].d;
            for (order, power) in orders.iter_mut().zip([1, 2, 3, 3, 3]) {
                let scale = ratio.powi(power);
                order.slope = (order.slope + order.d * faster * f64::from(power)) * scale;
                (order.d, order.curvature) = (order.d * scale, order.curvature * scale);
            }
            orders[0] = first;
            if let Some(second) = table.second(a) {
                let (d, slope) = (S::of(second.d), S::of(second.d * second.f));
                let curvature = b * (d - first.d.powi(2)) - friction * slope;
                orders[1] = Growth { d, slope, curvature };
            }
        }
        let [d1, d2, d3a, d3b, d3c] = orders;
        Instant { a, e: self.e(a), d1, d2, d3a, d3b, d3c }
    }

    /// First-order growth alone, as [`instant`](History::instant) has it.
    pub fn first_growth(&self, a: f64) -> Growth<S> {
        let a = a.clamp(START.exp(), 1.0);
        let (friction, b) = growth::coefficients(&self.background, a);
        if let Some(table) = self.growth_table.as_ref().filter(|table| table.covers(a)) {
            return tabulated(table, a, (friction, b));
        }
        let (d, slope) = self.integrated_order(a, 0);
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

/// Growth of the first order from a table, with the coefficients of its equation.
fn tabulated<S: Scalar>(table: &GrowthTable, a: f64, (friction, b): (S, S)) -> Growth<S> {
    let rate = table.first(a);
    let (d, slope) = (S::of(rate.d), S::of(rate.d * rate.f));
    Growth { d, slope, curvature: growth::first_acceleration(friction, b, (d, slope)) }
}

fn out_of_reach<S>(chi: f64, farthest: f64) -> Result<S> {
    let expected = format!("the table reaches from 0 to {farthest:.1} Mpc/h");
    Err(Error::Range { what: "comoving distance", value: chi, expected })
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
