//! From modes to fields: one set of Hartley modes, one field for each amplitude.

use lookback_operator::{DynOperator, Linear, LinearOperator, Operator, Real, Space};
use num_complex::Complex;

use crate::{Grid, Hartley, Multiplier};

/// `y_c = Hartley[ a_c(k) z(k) ]`: white noise on the modes of a grid to fields with amplitudes `a_c`, real and even.
///
/// Followed by a [`Multiplier`] it is again of this kind, with amplitudes `a(k) m_c(k)`: the two transforms between
/// them cancel, and [`fuse`](Operator::fuse) leaves them out. Cost: one real transform for each field. Memory: half a
/// number a pixel for each field, and a spectrum as scratch.
pub struct Synthesis<T: Real> {
    name: String,
    domain: Space,
    codomain: Space,
    hartley: Hartley<T>,
    amplitudes: Vec<Vec<T>>,
}

/// A spectrum, and a set of modes for sums.
type Scratch<T> = (Vec<Complex<T>>, Vec<T>);

impl<T: Real> Synthesis<T> {
    /// One field for each block of `codomain`, with the amplitudes on the half spectrum.
    ///
    /// # Panics
    /// If the lengths do not agree with the grid.
    pub fn new(
        name: impl Into<String>,
        grid: &Grid,
        domain: Space,
        codomain: Space,
        amplitudes: Vec<Vec<T>>,
    ) -> Synthesis<T> {
        assert_eq!(domain.len(), grid.len(), "one number a mode");
        assert_eq!(codomain.len(), amplitudes.len() * grid.len(), "one field for each amplitude");
        assert!(amplitudes.iter().all(|a| a.len() == grid.half_len()), "amplitudes lie on the half spectrum");
        Synthesis { name: name.into(), domain, codomain, hartley: Hartley::new(grid), amplitudes }
    }
}

impl<T: Real> LinearOperator<T> for Synthesis<T> {
    type Scratch = Scratch<T>;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) -> Scratch<T> {
        let sums = if self.amplitudes.len() > 1 { self.domain.len() } else { 0 };
        (self.hartley.make_spectrum(), vec![T::zero(); sums])
    }

    fn forward(&self, modes: &[T], fields: &mut [T], (spectrum, _): &mut Scratch<T>) {
        for (field, amplitude) in fields.chunks_mut(modes.len()).zip(&self.amplitudes) {
            self.hartley.synthesize(amplitude, modes, field, spectrum);
        }
    }

    fn adjoint(&self, fields: &[T], modes: &mut [T], (spectrum, part): &mut Scratch<T>) {
        for (c, (field, amplitude)) in fields.chunks(modes.len()).zip(&self.amplitudes).enumerate() {
            if c == 0 {
                self.hartley.analyze(amplitude, field, modes, spectrum);
            } else {
                self.hartley.analyze(amplitude, field, part, spectrum);
                lookback_operator::vector::axpy(1.0, part, modes);
            }
        }
    }

    fn fuse(&self, next: &dyn Operator<T>) -> Option<DynOperator<T>> {
        let Linear(multiplier) = next.as_any()?.downcast_ref::<Linear<Multiplier<T>>>()?;
        let [amplitude] = self.amplitudes.as_slice() else { return None };
        let product = |factor: &Vec<T>| amplitude.iter().zip(factor).map(|(&a, &m)| a * m).collect();
        let amplitudes = multiplier.factors().iter().map(product).collect();
        let name = format!("{} -> {}", self.name, next.name());
        let codomain = next.codomain().clone();
        Some(Synthesis::new(name, self.hartley.grid(), self.domain.clone(), codomain, amplitudes).shared())
    }
}
