//! One trajectory of NUTS, which doubles until it turns back.

use std::sync::Arc;

use super::arrival::{Ahead, Arrival, Near};
use super::parts::Origin;
use super::pool::Pool;
use crate::chain::{Decisions, Point};
use crate::hmc::DIVERGENT;
use crate::integrator::Shares;
use crate::leap::kick_and_move;
use crate::scales::Scales;
use crate::{Evaluator, Number, Result};

/// What a trajectory is made with, and what was done for it.
pub(super) struct Trajectory<'a, T: Number> {
    pub evaluator: &'a mut dyn Evaluator<T>,
    pub scales: Scales<'a, T>,
    pub shares: Shares,
    pub step: f64,
    /// Energy at its start, that of the momentum included.
    pub start: f64,
    /// Steps in which the energy spreads by more are halved; infinite if none is.
    pub halve_above: f64,
    pub decisions: Decisions,
    pub pool: &'a Pool<T>,
    pub counts: Counts,
}

/// What was done for a trajectory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub steps: u64,
    pub gradients: u64,
    /// Sum of the acceptances of its steps, none of those that were halved.
    pub accepted: f64,
    pub diverged: bool,
    /// Whether it was cut at the greatest depth.
    pub cut: bool,
    /// Steps that were halved, and whether one of them would not have been taken backwards, which ends a trajectory.
    pub halved: u64,
    pub one_way: bool,
}

/// Places one after the other, in the order in which they were made. Momenta are those of the scaled latents, of unit mass.
struct Stretch<T: Number> {
    /// Momenta at its ends.
    first: Arc<Vec<T>>,
    last: Arc<Vec<T>>,
    /// Sum of its momenta, if it has more than two places.
    rho: Option<Vec<T>>,
    log_weight: f64,
    /// One of its places, chosen by weight.
    draw: Arc<Point<T>>,
}

/// A place that a step led to.
pub(super) struct Place<T: Number> {
    pub point: Arc<Point<T>>,
    pub momentum: Arc<Vec<T>>,
    /// Sum of the momenta of the longest stretch that ends here, if it has more than two places.
    rho: Option<Vec<T>>,
    /// For each stretch that ends here, from the shortest on, whether it goes on in the direction of its ends.
    straight: Vec<bool>,
    /// Energy, that of the momentum included.
    pub total: f64,
}

/// An end of a trajectory, from which steps go on.
enum End<T: Number> {
    /// The next step has begun.
    Begun(Ahead<T>),
    /// It is begun anew as often as it is halved.
    Whole(Origin<T>),
}

fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

impl<T: Number> Stretch<T> {
    fn of_one(momentum: Arc<Vec<T>>, log_weight: f64, draw: Arc<Point<T>>) -> Stretch<T> {
        Stretch { first: momentum.clone(), last: momentum, rho: None, log_weight, draw }
    }

    fn near(&self) -> Near<'_, T> {
        Near { first: &self.first, last: &self.last, rho: self.rho.as_deref().unwrap_or_default() }
    }

    /// The same where places are added at its first end.
    fn near_backwards(&self) -> Near<'_, T> {
        Near { first: &self.last, last: &self.first, ..self.near() }
    }
}

impl<T: Number> Trajectory<'_, T> {
    /// Doubles a trajectory until it turns, and gives one of its places, chosen by weight.
    pub fn run(&mut self, start: Arc<Point<T>>, momentum: Vec<T>, max_depth: usize) -> Result<Arc<Point<T>>> {
        let momentum = Arc::new(momentum);
        // From its end back in time to the one forth in time, and the steps that have begun there.
        let mut whole = Stretch::of_one(momentum.clone(), 0.0, start.clone());
        let mut ends = [None, None];
        self.counts.cut = true;
        for depth in 0..max_depth {
            let side = usize::from(self.decisions.uniform() < 0.5);
            let step = if side == 1 { self.step } else { -self.step };
            let end = ends[side].get_or_insert_with(|| self.end(&start, &momentum, step));
            if !self.double(&mut whole, end, depth, step)? {
                self.counts.cut = false;
                break;
            }
        }
        ends.into_iter().flatten().for_each(|end| self.recycle_end(end));
        let Stretch { first, last, rho, draw, .. } = whole;
        [first, last, momentum].into_iter().for_each(|vector| self.recycle(vector));
        self.pool.recycle(rho);
        Ok(draw)
    }

    pub(super) fn recycle_ahead(&self, Ahead { momentum, z }: Ahead<T>) {
        self.pool.recycle([momentum, z]);
    }

    pub(super) fn recycle_origin(&self, Origin { point, momentum, .. }: Origin<T>) {
        self.recycle(momentum);
        self.pool.recycle_point(point);
    }

    pub(super) fn recycle_place(&self, Place { point, momentum, rho, .. }: Place<T>) {
        self.recycle(momentum);
        self.pool.recycle(rho);
        self.pool.recycle_point(point);
    }

    fn recycle(&self, vector: Arc<Vec<T>>) {
        self.pool.recycle(Arc::try_unwrap(vector));
    }

    fn recycle_stretch(&self, Stretch { first, last, rho, draw, .. }: Stretch<T>) {
        [first, last].into_iter().for_each(|vector| self.recycle(vector));
        self.pool.recycle(rho);
        self.pool.recycle_point(draw);
    }

    fn recycle_end(&self, end: End<T>) {
        match end {
            End::Begun(ahead) => self.recycle_ahead(ahead),
            End::Whole(origin) => self.recycle_origin(origin),
        }
    }

    /// The start of a trajectory as the end from which steps of this sign go on.
    fn end(&self, start: &Arc<Point<T>>, momentum: &Arc<Vec<T>>, step: f64) -> End<T> {
        if self.halve_above == f64::INFINITY {
            return End::Begun(self.set_out(start, momentum, step));
        }
        End::Whole(Origin { point: start.clone(), momentum: momentum.clone(), total: self.start })
    }

    /// Begins a step.
    pub(super) fn set_out(&self, start: &Point<T>, momentum: &[T], step: f64) -> Ahead<T> {
        let mut ahead =
            Ahead { momentum: self.pool.vector(momentum.len()), z: self.pool.vector(momentum.len()) };
        ahead.momentum.copy_from_slice(momentum);
        ahead.z.copy_from_slice(&start.z);
        self.kick_and_move(self.shares.outer * step, &mut ahead, &start.gradient, step);
        ahead
    }

    /// A kick `p -= kick s g` and a move after it.
    fn kick_and_move(&self, kick: f64, Ahead { momentum, z }: &mut Ahead<T>, gradient: &[T], step: f64) {
        let by = [1.0, -kick, step / self.shares.moves as f64];
        kick_and_move(by, momentum, z, gradient, self.scales);
    }

    /// Adds as many places as there are at the end to which a step of this sign leads; whether the trajectory goes on.
    fn double(&mut self, whole: &mut Stretch<T>, end: &mut End<T>, depth: usize, step: f64) -> Result<bool> {
        // Stretches whose other halves are still to come, the longest first.
        let mut waiting: Vec<Stretch<T>> = Vec::with_capacity(depth + 1);
        let places = 1usize << depth;
        for number in 1..=places {
            let halves = number.trailing_zeros() as usize;
            let to_whole =
                (number == places).then(|| if step > 0.0 { whole.near() } else { whole.near_backwards() });
            let near: Vec<_> = waiting.iter().rev().take(halves).map(Stretch::near).chain(to_whole).collect();
            let Some(place) = self.leave(end, &near, step)? else { break };
            let goes_on = place.straight.last().copied().unwrap_or(true);
            match self.join(place, &mut waiting, halves) {
                Some(piece) if number == places => {
                    self.add(whole, piece, step);
                    return Ok(goes_on);
                }
                Some(stretch) => waiting.push(stretch),
                None => break,
            }
        }
        waiting.into_iter().for_each(|stretch| self.recycle_stretch(stretch));
        Ok(false)
    }

    /// Joins a place to stretches that wait for it, as many as are given; `None` if it diverged or one turns back.
    fn join(&mut self, place: Place<T>, waiting: &mut Vec<Stretch<T>>, halves: usize) -> Option<Stretch<T>> {
        let log_weight = self.log_weight(&place);
        let Place { point, momentum, rho, straight, .. } = place;
        let mut joined = Stretch::of_one(momentum, log_weight, point);
        joined.rho = rho;
        let mut goes_on = log_weight > f64::NEG_INFINITY;
        for straight in straight.into_iter().take(halves) {
            if !goes_on {
                break;
            }
            let Some(near) = waiting.pop() else { break };
            let far_weight = joined.log_weight;
            joined.log_weight = log_add(near.log_weight, far_weight);
            let take_far = self.decisions.uniform().ln() < far_weight - joined.log_weight;
            let other = if take_far { near.draw } else { std::mem::replace(&mut joined.draw, near.draw) };
            let inner = std::mem::replace(&mut joined.first, near.first);
            [near.last, inner].into_iter().for_each(|vector| self.recycle(vector));
            self.pool.recycle(near.rho);
            self.pool.recycle_point(other);
            goes_on = straight;
        }
        if goes_on {
            return Some(joined);
        }
        self.recycle_stretch(joined);
        None
    }

    /// Adds a piece to a trajectory as long as it; the sum of momenta of the piece is that of both.
    fn add(&mut self, whole: &mut Stretch<T>, mut piece: Stretch<T>, step: f64) {
        if self.decisions.uniform().ln() < piece.log_weight - whole.log_weight {
            std::mem::swap(&mut whole.draw, &mut piece.draw);
        }
        whole.log_weight = log_add(whole.log_weight, piece.log_weight);
        std::mem::swap(&mut whole.rho, &mut piece.rho);
        let end = if step > 0.0 { &mut whole.last } else { &mut whole.first };
        std::mem::swap(end, &mut piece.last);
        self.recycle_stretch(piece);
    }

    /// Takes a step from an end, which becomes the place that it leads to; `None` if a step could not be taken in parts that are short enough, or not backwards.
    fn leave(&mut self, end: &mut End<T>, near: &[Near<'_, T>], step: f64) -> Result<Option<Place<T>>> {
        self.counts.steps += 1;
        let halved = self.counts.halved;
        let place = match end {
            End::Begun(ahead) => Some(self.step(ahead, near, step)?),
            End::Whole(origin) => self.step_in_parts(origin, near, step)?,
        };
        let Some(place) = place else { return Ok(None) };
        let log_weight = self.log_weight(&place);
        self.counts.diverged |= log_weight == f64::NEG_INFINITY;
        if self.counts.halved == halved {
            self.counts.accepted += log_weight.exp().min(1.0);
        }
        Ok(Some(place))
    }

    /// Logarithm of the weight of a place, which is none where the trajectory diverged.
    fn log_weight(&self, place: &Place<T>) -> f64 {
        let change = place.total - self.start;
        if change < DIVERGENT { -change } else { f64::NEG_INFINITY }
    }

    /// Ends a step of kicks `p -= h s dH/dz` and moves `z += h s p`, each with its share of the time, where it begins the next one; where the
    /// energy is none, it ends there. `near` are the stretches that the place is joined to, the shortest first, each to all after it.
    pub(super) fn step(&mut self, ahead: &mut Ahead<T>, near: &[Near<'_, T>], step: f64) -> Result<Place<T>> {
        let dim = ahead.z.len();
        let Shares { outer, middle, moves } = self.shares;
        let mut gradient = self.pool.vector(dim);
        let mut energy = self.evaluator.energy(&ahead.z, &mut gradient)?;
        self.counts.gradients += 1;
        for _ in 1..moves {
            if !energy.is_finite() {
                break;
            }
            self.kick_and_move(middle * step, ahead, &gradient, step);
            energy = self.evaluator.energy(&ahead.z, &mut gradient)?;
            self.counts.gradients += 1;
        }
        let z = std::mem::replace(&mut ahead.z, self.pool.vector(dim));
        let mut momentum = self.pool.vector(dim);
        let mut rho = (near.len() > 1).then(|| self.pool.vector(dim));
        let arrival = Arrival {
            by: [outer * step, step / moves as f64].map(T::of),
            z: &z,
            gradient: &gradient,
            scales: self.scales,
            near,
        };
        let (square, straight) =
            arrival.carry_out(ahead, &mut momentum, rho.as_deref_mut().unwrap_or_default());
        let total = energy + 0.5 * square;
        let (point, momentum) = (Arc::new(Point { z, gradient, energy }), Arc::new(momentum));
        Ok(Place { point, momentum, rho, straight, total })
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};
    use lookback_operator::vector::{self, CHUNK};

    use super::*;
    use crate::Integrator;

    /// Pairs of latents on bent ridges, beside a wall, where there is neither an energy nor a gradient.
    struct Ridges;

    impl Evaluator<f64> for Ridges {
        fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
            if z[0] > 1.5 {
                return Ok(f64::NAN);
            }
            let mut energy = 0.0;
            for (z, gradient) in z.chunks(2).zip(gradient.chunks_mut(2)) {
                let &[x, y] = z else { continue };
                let off = y - 0.5 * x * x;
                gradient.copy_from_slice(&[x - 2.0 * off * x, 2.0 * off]);
                energy += 0.5 * x * x + off * off;
            }
            Ok(energy)
        }
    }

    /// A trajectory as it is written in papers, by recursion, with vectors of its own everywhere.
    struct Plain<'a> {
        scales: &'a [f64],
        shares: Shares,
        step: f64,
        start: f64,
        halve_above: f64,
        decisions: Decisions,
        counts: Counts,
    }

    #[derive(Clone)]
    struct State {
        z: Vec<f64>,
        p: Vec<f64>,
        total: f64,
    }

    struct Tree {
        first: State,
        last: State,
        rho: Vec<f64>,
        log_weight: f64,
        draw: State,
        stops: bool,
    }

    fn goes_on(rho: &[f64], first: &[f64], last: &[f64]) -> bool {
        vector::dot(rho, first) > 0.0 && vector::dot(rho, last) > 0.0
    }

    fn both_go_on(near: &Tree, far: &Tree) -> bool {
        let sum = |a: &[f64], b: &[f64]| vector::step(a, 1.0, b);
        goes_on(&sum(&near.rho, &far.rho), &near.first.p, &far.last.p)
            && goes_on(&sum(&near.rho, &far.first.p), &near.first.p, &far.first.p)
            && goes_on(&sum(&near.last.p, &far.rho), &near.last.p, &far.last.p)
    }

    impl Plain<'_> {
        fn leap(&mut self, mut at: State, step: f64) -> State {
            let Shares { outer, middle, moves } = self.shares;
            let mut gradient = vec![0.0; at.z.len()];
            let mut energy = Ridges.energy(&at.z, &mut gradient).expect("never fails");
            for done in 0..=moves {
                let kick = step * if done == 0 || done == moves { outer } else { middle };
                for ((p, g), s) in at.p.iter_mut().zip(&gradient).zip(self.scales) {
                    *p -= kick * s * g;
                }
                if done == moves || (done > 0 && !energy.is_finite()) {
                    break;
                }
                for ((z, p), s) in at.z.iter_mut().zip(&at.p).zip(self.scales) {
                    *z += step / moves as f64 * s * p;
                }
                energy = Ridges.energy(&at.z, &mut gradient).expect("never fails");
                self.counts.gradients += 1;
            }
            at.total = energy + 0.5 * vector::norm2(&at.p);
            at
        }

        /// A step in so many parts, if the energy spreads by no more than is allowed.
        fn parts(&mut self, from: &State, step: f64, halvings: u32) -> Option<State> {
            let mut at = from.clone();
            let (mut least, mut most) = (at.total, at.total);
            for _ in 0..1 << halvings {
                at = self.leap(at, step / f64::from(1 << halvings));
                if !at.total.is_finite() {
                    return None;
                }
                (least, most) = (least.min(at.total), most.max(at.total));
                if most - least > self.halve_above {
                    return None;
                }
            }
            Some(at)
        }

        /// A step in the least number of parts, if it would be taken in as many on the way back.
        fn macro_step(&mut self, from: &State, step: f64) -> Option<State> {
            if self.halve_above == f64::INFINITY {
                return Some(self.leap(from.clone(), step));
            }
            for halvings in 0..=10 {
                let Some(at) = self.parts(from, step, halvings) else { continue };
                self.counts.halved += u64::from(halvings > 0);
                self.counts.one_way |= (0..halvings).any(|fewer| self.parts(&at, -step, fewer).is_some());
                return (!self.counts.one_way).then_some(at);
            }
            self.counts.diverged = true;
            None
        }

        fn tree(&mut self, from: &State, depth: usize, step: f64) -> Tree {
            if depth == 0 {
                self.counts.steps += 1;
                let halved = self.counts.halved;
                let Some(at) = self.macro_step(from, step) else {
                    let [first, last, draw] = [0; 3].map(|_| from.clone());
                    return Tree { first, last, rho: Vec::new(), log_weight: 0.0, draw, stops: true };
                };
                let change = at.total - self.start;
                let stops = !(change < DIVERGENT);
                self.counts.diverged |= stops;
                let counts = !stops && self.counts.halved == halved;
                self.counts.accepted += if counts { (-change).exp().min(1.0) } else { 0.0 };
                let rho = at.p.clone();
                return Tree {
                    first: at.clone(),
                    last: at.clone(),
                    rho,
                    log_weight: -change,
                    draw: at,
                    stops,
                };
            }
            let near = self.tree(from, depth - 1, step);
            if near.stops {
                return near;
            }
            let far = self.tree(&near.last, depth - 1, step);
            if far.stops {
                return far;
            }
            let log_weight = log_add(near.log_weight, far.log_weight);
            let take_far = self.decisions.uniform().ln() < far.log_weight - log_weight;
            let stops = !both_go_on(&near, &far);
            let rho = vector::step(&near.rho, 1.0, &far.rho);
            let draw = if take_far { far.draw } else { near.draw };
            Tree { first: near.first, last: far.last, rho, log_weight, draw, stops }
        }

        fn run(&mut self, start: State, max_depth: usize) -> Vec<f64> {
            let rho = start.p.clone();
            let [first, last, draw] = [0; 3].map(|_| start.clone());
            let mut whole = Tree { first, last, rho, log_weight: 0.0, draw, stops: false };
            self.counts.cut = true;
            for depth in 0..max_depth {
                let forth = self.decisions.uniform() < 0.5;
                let (from, step) = if forth { (&whole.last, self.step) } else { (&whole.first, -self.step) };
                let far = self.tree(&from.clone(), depth, step);
                self.counts.cut = !far.stops;
                if far.stops {
                    break;
                }
                if self.decisions.uniform().ln() < far.log_weight - whole.log_weight {
                    whole.draw = far.draw.clone();
                }
                if !forth {
                    std::mem::swap(&mut whole.first, &mut whole.last);
                }
                self.counts.cut = both_go_on(&whole, &far);
                whole.log_weight = log_add(whole.log_weight, far.log_weight);
                whole.rho = vector::step(&whole.rho, 1.0, &far.rho);
                whole.last = far.last;
                if !forth {
                    std::mem::swap(&mut whole.first, &mut whole.last);
                }
                if !self.counts.cut {
                    break;
                }
            }
            whole.draw.z
        }
    }

    /// Whether the draws and the counts of so many trajectories are those of the plain ones; sums of all counts.
    fn compare(
        dim: usize,
        trajectories: u32,
        integrator: Integrator,
        widths: bool,
        halve_above: f64,
    ) -> (Vec<u64>, [u64; 4]) {
        let (mut lengths, mut diverged, mut cut, mut halved, mut one_way) = (Vec::new(), 0, 0, 0, 0);
        for number in 0..trajectories {
            let max_depth = 3 + number as usize % 3;
            // As many vectors as are reckoned with, three of them below; what lies in them must not matter.
            let vectors = 5 * max_depth + 8 + if halve_above < f64::INFINITY { ORIGINS } else { 0 };
            let pool = Pool::default();
            pool.recycle((3..vectors).map(|_| vec![f64::NAN; dim]));
            let stream = Stream::new(8, Purpose::Test, number);
            let draw =
                |first: usize| (0..dim).map(|i| stream.normal((first + i) as u64)).collect::<Vec<f64>>();
            let (mut z, momentum) = (draw(0), draw(dim));
            z[0] = z[0].min(1.4);
            let scales: Vec<f64> =
                draw(2 * dim).iter().map(|x| if widths { (0.3 * x).exp() } else { 1.0 }).collect();
            let mut gradient = vec![0.0; dim];
            let energy = Ridges.energy(&z, &mut gradient).expect("never fails");
            let start = energy + 0.5 * vector::norm2(&momentum);
            let (shares, step) = (integrator.shares(), 0.5 * (dim as f64).powf(-0.25));
            let decisions = || Decisions::new(Stream::new(8, Purpose::Test, number), 3 * dim);
            let mut trajectory = Trajectory {
                evaluator: &mut Ridges,
                scales: widths.then_some(&scales[..]),
                shares,
                step,
                start,
                halve_above,
                decisions: decisions(),
                pool: &pool,
                counts: Counts::default(),
            };
            let state = State { z: z.clone(), p: momentum.clone(), total: start };
            let point = Arc::new(Point { z, gradient, energy });
            let found = trajectory.run(point.clone(), momentum, max_depth).expect("never fails");
            let counts = trajectory.counts;
            let mut plain = Plain {
                scales: &scales,
                shares,
                step,
                start,
                halve_above,
                decisions: decisions(),
                counts: Counts::default(),
            };
            let expected = plain.run(state, max_depth);
            let accepted = (counts.accepted - plain.counts.accepted).abs();
            assert!(accepted < 1e-9, "trajectory {number}: {accepted}");
            assert_eq!(counts, Counts { accepted: counts.accepted, ..plain.counts }, "trajectory {number}");
            let apart = vector::step(&found.z, -1.0, &expected);
            assert!(vector::max_abs(&apart) < 1e-9, "trajectory {number}: {}", vector::max_abs(&apart));
            let mut gradient = vec![0.0; dim];
            assert_eq!(Ridges.energy(&found.z, &mut gradient).expect("never fails"), found.energy);
            assert_eq!(gradient, found.gradient);
            lengths.push(counts.steps);
            // All come back, and no other was made.
            [point, found].into_iter().for_each(|point| pool.recycle_point(point));
            let back = std::iter::repeat_with(|| pool.vector(0)).take_while(|vector| !vector.is_empty());
            assert_eq!(back.count(), vectors, "trajectory {number}");
            halved += u64::from(counts.halved > 0);
            one_way += u64::from(counts.one_way);
            diverged += u64::from(counts.diverged);
            cut += u64::from(counts.cut);
        }
        (lengths, [diverged, cut, halved, one_way])
    }

    #[test]
    fn a_trajectory_is_that_of_the_recursion_in_papers() {
        for integrator in [Integrator::Leapfrog, Integrator::TwoStage] {
            for widths in [false, true] {
                let (lengths, [diverged, cut, ..]) = compare(6, 300, integrator, widths, f64::INFINITY);
                // Some of every kind: those that turn at once, those that go far, into the wall, or to the greatest depth.
                let short = lengths.iter().filter(|&&steps| steps < 4).count();
                let odd = lengths.iter().filter(|&&steps| !(steps + 1).is_power_of_two()).count();
                println!(
                    "{integrator:?}, {widths}: {short} short, {odd} end within a doubling, {diverged} diverge, {cut} cut"
                );
                assert!(short > 5 && odd > 20 && diverged > 5 && cut > 0);
            }
        }
        // Vectors of several tasks.
        let (lengths, ..) = compare(10 * CHUNK + 6, 3, Integrator::Leapfrog, true, f64::INFINITY);
        assert!(lengths.iter().all(|&steps| steps > 2), "{lengths:?}");
    }

    /// Vectors that a trajectory with steps that may be halved holds beyond those of others.
    const ORIGINS: usize = 3;

    #[test]
    fn halved_steps_are_those_of_the_recursion_in_papers() {
        for integrator in [Integrator::Leapfrog, Integrator::TwoStage] {
            for spread in [0.1, 1e300] {
                let (lengths, [diverged, cut, halved, one_way]) =
                    compare(6, 300, integrator, spread < 1.0, spread);
                let long = lengths.iter().filter(|&&steps| steps > 7).count();
                println!(
                    "{integrator:?}, {spread}: {long} long, {halved} halved, {one_way} one way, {diverged} diverge, {cut} cut"
                );
                assert!(long > 5 && cut > 0 && diverged > 5);
                assert!(spread > 1.0 || (halved > 20 && one_way > 5));
            }
        }
    }
}
