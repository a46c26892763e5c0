//! How the score at a maximum answers to a change of the data, from the curvature of the energy there.

use lookback_operator::{Real, vector};

use crate::conditional::{clear, held_of};
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

/// The second derivatives of the energy at a point, from differences of gradients: two gradients a product. Of some latents, which are `held`, it
/// sees nothing.
pub(crate) struct Response<'a, T: Number> {
    evaluator: &'a mut dyn Evaluator<T>,
    held: &'a [usize],
    at: &'a [T],
}

impl<'a, T: Number> Response<'a, T> {
    pub fn new(evaluator: &'a mut dyn Evaluator<T>, held: &'a [usize], at: &'a [T]) -> Self {
        Response { evaluator, held, at }
    }

    /// `H v` of a vector that is zero where latents are held, in all latents.
    fn curvature(&mut self, v: &[T]) -> Result<Vec<T>> {
        let length = vector::norm2(v).sqrt();
        let size = (self.at.len() as f64).sqrt() + vector::norm2(self.at).sqrt();
        let apart = T::epsilon().f64().cbrt() * size / length;
        let mut gradients = [self.at.to_vec(), self.at.to_vec()];
        for (gradient, side) in gradients.iter_mut().zip([apart, -apart]) {
            self.evaluator.energy(&vector::step(self.at, side, v), gradient)?;
        }
        Ok(central_difference(&gradients[0], &gradients[1], apart))
    }

    /// The derivative of the score, where the data move so that the gradient of the energy (in all latents) moves by `changed`:
    /// `-changed_theta + H_theta,z (H_zz)^-1 changed_z`, since the maximum follows by `-(H_zz)^-1 changed_z`.
    ///
    /// # Errors
    /// If the point is no maximum, or the model fails.
    pub fn of_score(mut self, changed: &[T]) -> Result<Vec<f64>> {
        let held = self.held;
        let (direct, mut moved) = (held_of(changed, held), changed.to_vec());
        clear(&mut moved, held);
        let mut answer: Vec<f64> = direct.iter().map(|x| -x).collect();
        let force = vector::norm2(&moved);
        if force > 0.0 {
            let follows = truncated(&mut self, &moved, RESIDUAL * RESIDUAL * force, ITERATIONS)?.x;
            if vector::norm2(&follows) > 0.0 {
                let back = held_of(&self.curvature(&follows)?, held);
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
        out.copy_from_slice(&product);
        clear(out, self.held);
        Ok(())
    }
}
