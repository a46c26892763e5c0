//! Limited-memory BFGS (Nocedal 1980; Nocedal & Wright 2006, algorithm 7.4).

use std::collections::VecDeque;

use lookback_operator::vector;
use serde::{Deserialize, Serialize};

use crate::Number;

/// Pairs of steps and changes of the gradient that stand for the inverse Hessian. Memory: two vectors a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct History<T: Number> {
    pairs: VecDeque<(Vec<T>, Vec<T>)>,
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
        self.pairs.iter().map(|(s, y)| (s, y))
    }

    /// Notes a step `s` and the change `y` of the gradient; pairs without curvature are left out.
    pub(crate) fn update(&mut self, s: Vec<T>, y: Vec<T>) {
        if vector::dot(&s, &y) > 1e-10 * (vector::norm2(&s) * vector::norm2(&y)).sqrt() {
            if self.pairs.len() == self.memory {
                self.pairs.pop_front();
            }
            self.pairs.push_back((s, y));
            self.taken += 1;
        }
    }

    /// The direction of descent: minus the inverse Hessian times the gradient, by the two-loop recursion.
    pub(crate) fn direction(&self, gradient: &[T]) -> Vec<T> {
        let mut q: Vec<T> = gradient.iter().map(|&g| -g).collect();
        let mut coefficients = Vec::with_capacity(self.pairs.len());
        for (s, y) in self.pairs.iter().rev() {
            let alpha = vector::dot(s, &q) / vector::dot(s, y);
            vector::axpy(-alpha, y, &mut q);
            coefficients.push(alpha);
        }
        if let Some((s, y)) = self.pairs.back() {
            let scale = T::of(vector::dot(s, y) / vector::norm2(y));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y), alpha) in self.pairs.iter().zip(coefficients.into_iter().rev()) {
            let beta = vector::dot(y, &q) / vector::dot(s, y);
            vector::axpy(alpha - beta, s, &mut q);
        }
        q
    }
}
