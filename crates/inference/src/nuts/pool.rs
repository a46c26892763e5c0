//! Vectors that are used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Number;
use crate::chain::Point;

/// Vectors that trajectories have given back, for the next ones: memory that comes anew from the system takes longer to come than a step.
#[derive(Debug, Clone)]
pub(super) struct Pool<T>(Arc<Mutex<Vec<Vec<T>>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool(Arc::default())
    }
}

/// What is free says nothing of a sampler.
impl<T> PartialEq for Pool<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T: Number> Pool<T> {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A vector of whatever was there.
    pub fn vector(&self, dim: usize) -> Vec<T> {
        let vector = self.free().pop();
        vector.unwrap_or_else(|| vec![T::zero(); dim])
    }

    /// Takes vectors back.
    pub fn recycle(&self, vectors: impl IntoIterator<Item = Vec<T>>) {
        self.free().extend(vectors);
    }

    /// Takes the vectors of a place back that nobody else holds.
    pub fn recycle_point(&self, point: Arc<Point<T>>) {
        if let Ok(Point { z, gradient, .. }) = Arc::try_unwrap(point) {
            self.recycle([z, gradient]);
        }
    }
}
