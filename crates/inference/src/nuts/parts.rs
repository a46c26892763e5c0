//! Steps that are halved where they are too long (WALNUTS; Bou-Rabee, Carpenter, Kleppe & Liu 2025, arXiv:2506.18746): in the neck of a funnel a step that is right
//! elsewhere would diverge.

use std::sync::Arc;

use super::arrival::Near;
use super::trajectory::{Place, Trajectory};
use crate::chain::Point;
use crate::{Number, Result};

/// A step is taken in `2^MOST_HALVINGS` parts at most; where that is not enough, the trajectory diverged.
const MOST_HALVINGS: u32 = 10;

/// Where a step begins that may be halved.
pub(super) struct Origin<T: Number> {
    pub point: Arc<Point<T>>,
    pub momentum: Arc<Vec<T>>,
    /// Energy, that of the momentum included.
    pub total: f64,
}

impl<T: Number> Trajectory<'_, T> {
    /// Takes a step in the least number of parts, one, two, four and so on, between which the energy spreads by no more than is allowed, so that the place that
    /// it leads to is the next origin. `None` if there is no such number, or if fewer parts would do on the way back: a trajectory that began there would not come here.
    pub(super) fn step_in_parts(
        &mut self,
        origin: &mut Origin<T>,
        near: &[Near<'_, T>],
        step: f64,
    ) -> Result<Option<Place<T>>> {
        for halvings in 0..=MOST_HALVINGS {
            let Some(place) = self.parts(origin, near, step, halvings)? else { continue };
            let Place { point, momentum, total, .. } = &place;
            let next = Origin { point: point.clone(), momentum: momentum.clone(), total: *total };
            if halvings > 0 {
                self.counts.halved += 1;
                if self.fewer_parts_do(&next, -step, halvings)? {
                    self.counts.one_way = true;
                    self.recycle_place(place);
                    self.recycle_origin(next);
                    return Ok(None);
                }
            }
            let before = std::mem::replace(origin, next);
            self.recycle_origin(before);
            return Ok(Some(place));
        }
        self.counts.diverged = true;
        Ok(None)
    }

    fn fewer_parts_do(&mut self, origin: &Origin<T>, step: f64, halvings: u32) -> Result<bool> {
        for fewer in 0..halvings {
            if let Some(place) = self.parts(origin, &[], step, fewer)? {
                self.recycle_place(place);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a step in so many parts; `None` once the energy spreads by more than is allowed.
    fn parts(
        &mut self,
        origin: &Origin<T>,
        near: &[Near<'_, T>],
        step: f64,
        halvings: u32,
    ) -> Result<Option<Place<T>>> {
        let number = 1u32 << halvings;
        let part = step / f64::from(number);
        let mut ahead = self.set_out(&origin.point, &origin.momentum, part);
        let (mut least, mut most) = (origin.total, origin.total);
        let mut arrived = None;
        for done in 1..=number {
            let near = if done == number { near } else { &[] };
            let place = self.step(&mut ahead, near, part)?;
            (least, most) = (least.min(place.total), most.max(place.total));
            if !(place.total.is_finite() && most - least <= self.halve_above) {
                self.recycle_place(place);
                break;
            }
            if done == number {
                arrived = Some(place);
            } else {
                self.recycle_place(place);
            }
        }
        self.recycle_ahead(ahead);
        Ok(arrived)
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};
    use lookback_operator::vector;

    use super::super::pool::Pool;
    use super::super::trajectory::Counts;
    use super::*;
    use crate::chain::Decisions;
    use crate::{Evaluator, Integrator};

    /// A latent that is the logarithm of the widths of the others.
    struct Funnel;

    impl Evaluator<f64> for Funnel {
        fn energy(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64> {
            let narrow = (-2.0 * z[0]).exp();
            let sum = vector::norm2(&z[1..]);
            let others = (z.len() - 1) as f64;
            gradient[0] = z[0] + others - narrow * sum;
            gradient[1..].iter_mut().zip(&z[1..]).for_each(|(g, z)| *g = narrow * z);
            Ok(0.5 * z[0] * z[0] + others * z[0] + 0.5 * narrow * sum)
        }
    }

    #[test]
    fn a_step_goes_back_in_as_many_parts_or_not_at_all() {
        const DIM: usize = 5;
        let pool = Pool::default();
        let (mut taken, mut halved, mut one_way, mut quartered) = (0, 0, 0, 0);
        for number in 0..2000 {
            let stream = Stream::new(9, Purpose::Test, number);
            let normal = |first: u64| (0..DIM as u64).map(|i| stream.normal(first + i)).collect::<Vec<f64>>();
            let (mut z, momentum) = (normal(0), normal(DIM as u64));
            let wide = z[0].exp();
            z[1..].iter_mut().for_each(|z| *z *= wide);
            let mut gradient = vec![0.0; DIM];
            let energy = Funnel.energy(&z, &mut gradient).expect("never fails");
            let total = energy + 0.5 * vector::norm2(&momentum);
            let mut trajectory = Trajectory {
                evaluator: &mut Funnel,
                scales: None,
                shares: Integrator::Leapfrog.shares(),
                step: 0.5,
                start: total,
                halve_above: 0.5,
                decisions: Decisions::new(stream, 2 * DIM),
                pool: &pool,
                counts: Counts::default(),
            };
            let (point, momentum) = (Arc::new(Point { z, gradient, energy }), Arc::new(momentum));
            let start = Origin { point, momentum, total };
            let mut at = Origin { point: start.point.clone(), momentum: start.momentum.clone(), total };
            let step = if number % 2 == 0 { 0.5 } else { -0.5 };
            let arrived = trajectory.step_in_parts(&mut at, &[], step).expect("never fails");
            let forth = trajectory.counts;
            if arrived.is_none() {
                assert!(forth.one_way != forth.diverged, "{number}: {forth:?}");
                one_way += u64::from(forth.one_way);
                continue;
            }
            assert!((at.total - total).abs() <= 0.5, "{number}: {}", at.total - total);
            trajectory.counts = Counts::default();
            let back = trajectory.step_in_parts(&mut at, &[], -step).expect("never fails");
            assert!(back.is_some(), "{number}: no way back");
            assert_eq!(trajectory.counts.halved, forth.halved, "{number}");
            assert_eq!(trajectory.counts.gradients, forth.gradients, "{number}: other parts");
            let apart = vector::step(&at.point.z, -1.0, &start.point.z);
            assert!(vector::max_abs(&apart) < 1e-9, "{number}: {apart:?}");
            taken += 1;
            halved += forth.halved;
            quartered += u64::from(forth.gradients > 6);
        }
        println!("{taken} taken, {halved} of them halved, {quartered} more than once, {one_way} one way");
        assert!(taken > 1000 && halved > 100 && quartered > 20 && one_way > 20);
    }
}
