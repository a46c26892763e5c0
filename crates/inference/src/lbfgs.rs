//! Limited-memory BFGS (Nocedal 1980; Nocedal & Wright 2006, algorithm 7.4).

use std::collections::VecDeque;

use lookback_operator::{Real, vector};
use serde::{Deserialize, Serialize};

use crate::Number;

/// A step `s` and the change `y` of the gradient along it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
struct Pair<T: Number> {
    s: Vec<T>,
    y: Vec<T>,
    /// `s . y`, above zero.
    s_y: f64,
    /// `y . y`.
    y_y: f64,
}

/// Pairs of steps and changes of the gradient that stand for the inverse Hessian. Memory: two vectors a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct History<T: Number> {
    /// Oldest first.
    pairs: VecDeque<Pair<T>>,
    memory: usize,
    /// Pairs that were taken in.
    taken: usize,
}

impl<T: Number> History<T> {
    pub(crate) fn new(memory: usize) -> History<T> {
        History { pairs: VecDeque::new(), memory, taken: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many pairs were taken in so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Steps and changes of the gradient, oldest first.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Vec<T>, &Vec<T>)> {
        self.pairs.iter().map(|pair| (&pair.s, &pair.y))
    }

    /// Notes a step `s` and the change `y` of the gradient, and gives the curvature `y . y / s . y` along it; pairs without curvature are left out.
    pub(crate) fn update(&mut self, s: Vec<T>, y: Vec<T>) -> Option<f64> {
        let [s_y, s_s, y_y] = vector::sums([&s, &y], |pair| {
            let [s, y] = pair.map(Real::f64);
            [s * y, s * s, y * y]
        });
        if s_y > 1e-10 * (s_s * y_y).sqrt() {
            if self.pairs.len() == self.memory {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { s, y, s_y, y_y });
            self.taken += 1;
        }
        Some(y_y / s_y).filter(|curvature| curvature.is_finite() && *curvature > 0.0)
    }

    /// The direction of descent: minus the inverse Hessian times the gradient, by the two-loop recursion. Each pair takes two passes, which subtract it and
    /// multiply by the next.
    pub(crate) fn direction(&self, gradient: &[T]) -> Vec<T> {
        let mut q = vector::negative(gradient);
        let Some(newest) = self.pairs.back() else { return q };
        let scale = T::of(newest.s_y / newest.y_y);
        let mut along = vector::dot(&newest.s, &q);
        let mut alphas = vec![0.0; self.pairs.len()];
        for (i, Pair { y, s_y, .. }) in self.pairs.iter().enumerate().rev() {
            alphas[i] = along / s_y;
            let by = T::of(-alphas[i]);
            [along] = match i.checked_sub(1) {
                Some(older) => vector::change_and_sum(&mut q, [y, &self.pairs[older].s], |q, [y, s]| {
                    *q += by * y;
                    [s.f64() * q.f64()]
                }),
                None => vector::change_and_sum(&mut q, [y], |q, [y]| {
                    *q = (*q + by * y) * scale;
                    [y.f64() * q.f64()]
                }),
            };
        }
        for (i, Pair { s, s_y, .. }) in self.pairs.iter().enumerate() {
            let by = alphas[i] - along / s_y;
            match self.pairs.get(i + 1) {
                Some(newer) => {
                    let by = T::of(by);
                    [along] = vector::change_and_sum(&mut q, [s, &newer.y], |q, [s, y]| {
                        *q += by * s;
                        [y.f64() * q.f64()]
                    });
                }
                None => vector::axpy(by, s, &mut q),
            }
        }
        q
    }
}

#[cfg(test)]
mod tests {
    use lookback_operator::random::{Purpose, Stream};

    use super::*;

    /// The recursion as it stands in books, one product after the other.
    fn in_books(pairs: &[(Vec<f64>, Vec<f64>)], gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::new();
        for (s, y) in pairs.iter().rev() {
            let alpha = vector::dot(s, &q) / vector::dot(s, y);
            vector::axpy(-alpha, y, &mut q);
            alphas.push(alpha);
        }
        if let Some((s, y)) = pairs.last() {
            let scale = vector::dot(s, y) / vector::norm2(y);
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = vector::dot(y, &q) / vector::dot(s, y);
            vector::axpy(alpha - beta, s, &mut q);
        }
        q
    }

    #[test]
    fn a_direction_is_that_of_the_two_loops_bit_for_bit() {
        for dim in [5, 50_001] {
            let draw = |which: u32| {
                let mut x = vec![0.0; dim];
                Stream::new(1, Purpose::Test, which).fill_normal(&mut x);
                x
            };
            let mut history = History::new(3);
            let mut pairs = Vec::new();
            let gradient = draw(100);
            for which in 0..5 {
                assert_eq!(history.direction(&gradient), in_books(&pairs, &gradient), "{dim}, {which}");
                let s: Vec<f64> = draw(which);
                let y: Vec<f64> =
                    s.iter().zip(draw(50 + which)).map(|(s, bend)| s * (0.1 + bend * bend)).collect();
                let curvature = history.update(s.clone(), y.clone()).expect("a curvature");
                assert!((curvature / (vector::norm2(&y) / vector::dot(&s, &y)) - 1.0).abs() < 1e-12);
                pairs.push((s, y));
                pairs.drain(..pairs.len().saturating_sub(3));
            }
            // Along this the gradient falls: nothing to learn.
            assert!(history.update(gradient.clone(), vector::negative(&gradient)).is_none());
            assert_eq!(history.taken(), 5);
        }
    }
}
