//! How the score at a maximum answers to a change of the data, from the curvature of the energy there.

use lookback_operator::{Real, vector};

use crate::conditional::Split;
use crate::conjugate_gradient::truncated;
use crate::{Evaluator, Number, Result};

/// Residual at which the linear solve stops, as a share of its right side.
const RESIDUAL: f64 = 1e-4;
/// Most iterations of the solve.
const ITERATIONS: usize = 10_000;

/// `(above - below) / (2 apart)`.
pub(crate) fn central_difference<T: Real>(above: &[T], below: &[T], apart: f64) -> Vec<T> {
    let mut difference = vector::step(above, -1.0, below);
    let scale = T::of(0.5 / apart);
    difference.iter_mut().for_each(|x| *x *= scale);
    difference
}

/// The second derivatives of the energy at a point, from differences of gradients: two gradients a product.
pub(crate) struct Response<'a, T: Number> {
    evaluator: &'a mut dyn Evaluator<T>,
    split: &'a Split,
    at: &'a [T],
}

impl<'a, T: Number> Response<'a, T> {
    pub fn new(evaluator: &'a mut dyn Evaluator<T>, split: &'a Split, at: &'a [T]) -> Self {
        Response { evaluator, split, at }
    }

    /// `H v` of a vector of free latents, in all latents.
    fn curvature(&mut self, v: &[T]) -> Result<Vec<T>> {
        let none = vec![0.0; self.at.len() - v.len()];
        let direction = self.split.join(&none, v);
        let length = vector::norm2(v).sqrt();
        let size = (self.at.len() as f64).sqrt() + vector::norm2(self.at).sqrt();
        let apart = T::epsilon().f64().cbrt() * size / length;
        let mut gradients = [self.at.to_vec(), self.at.to_vec()];
        for (gradient, side) in gradients.iter_mut().zip([apart, -apart]) {
            self.evaluator.energy(&vector::step(self.at, side, &direction), gradient)?;
        }
        Ok(central_difference(&gradients[0], &gradients[1], apart))
    }

    /// The derivative of the score, where the data move so that the gradient of the energy (in all latents) moves by `changed`:
    /// `-changed_theta + H_theta,z (H_zz)^-1 changed_z`, since the maximum follows by `-(H_zz)^-1 changed_z`.
    ///
    /// # Errors
    /// If the point is no maximum, or the model fails.
    pub fn of_score(mut self, changed: &[T]) -> Result<Vec<f64>> {
        let split = self.split;
        let (direct, moved) = (split.held_of(changed), split.free_of(changed));
        let mut answer: Vec<f64> = direct.iter().map(|x| -x).collect();
        let force = vector::norm2(&moved);
        if force > 0.0 {
            let follows = truncated(&mut self, &moved, RESIDUAL * RESIDUAL * force, ITERATIONS)?.x;
            if vector::norm2(&follows) > 0.0 {
                let back = split.held_of(&self.curvature(&follows)?);
                answer.iter_mut().zip(back).for_each(|(answer, back)| *answer += back);
            }
        }
        Ok(answer)
    }
}

impl<T: Number> Evaluator<T> for Response<'_, T> {
    fn energy(&mut self, z: &[T], gradient: &mut [T]) -> Result<f64> {
        self.evaluator.energy(z, gradient)
    }

    fn refusal(&self) -> Option<crate::Error> {
        self.evaluator.refusal()
    }

    /// The product with the curvature of the free latents.
    fn metric(&mut self, v: &[T], out: &mut [T]) -> Result<()> {
        let product = self.curvature(v)?;
        out.copy_from_slice(&self.split.free_of(&product));
        Ok(())
    }
}
