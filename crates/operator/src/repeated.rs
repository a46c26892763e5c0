//! One operator at many points at once.

use crate::{DynOperator, Error, Linearization, Operator, Real, Result, Space};

/// `(x_1, ..., x_n) -> (F(x_1), ..., F(x_n))`, one point after the other: what [`Operator::repeated`] promises, without its saving.
pub struct Repeated<T: Real> {
    operator: DynOperator<T>,
    count: usize,
    domain: Space,
    codomain: Space,
}

impl<T: Real> Repeated<T> {
    /// An operator at `count` points.
    pub fn new(operator: DynOperator<T>, count: usize) -> Repeated<T> {
        let (domain, codomain) = (operator.domain().repeated(count), operator.codomain().repeated(count));
        Repeated { operator, count, domain, codomain }
    }
}

impl<T: Real> Operator<T> for Repeated<T> {
    fn name(&self) -> String {
        format!("{} at {} points", self.operator.name(), self.count)
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn is_linear(&self) -> bool {
        self.operator.is_linear()
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        // A linear map is its own derivative wherever it stands.
        let places = if self.operator.is_linear() { 1 } else { self.count };
        let points = (0..places).map(|_| self.operator.linearization()).collect();
        Box::new(AtPoints { operator: self, points })
    }
}

struct AtPoints<'a, T: Real> {
    operator: &'a Repeated<T>,
    /// One for each point, or for all.
    points: Vec<Box<dyn Linearization<T> + 'a>>,
}

impl<T: Real> AtPoints<'_, T> {
    /// Does the same at every point; `x` and `y` are of the first space and the second.
    fn each(
        &mut self,
        (x, y): (&[T], &mut [T]),
        (from, to): (&Space, &Space),
        step: impl Fn(&mut dyn Linearization<T>, &[T], &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let name = || self.operator.name();
        Error::check_length(name, "input", x.len(), from.len())?;
        Error::check_length(name, "output", y.len(), to.len())?;
        let (count, places) = (self.operator.count, self.points.len());
        let (inside, outside) = (from.len() / count.max(1), to.len() / count.max(1));
        (0..count).try_for_each(|point| {
            let (x, y) = (&x[point * inside..][..inside], &mut y[point * outside..][..outside]);
            step(self.points[point % places].as_mut(), x, y)
        })
    }
}

impl<T: Real> Linearization<T> for AtPoints<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        let spaces = (&self.operator.domain, &self.operator.codomain);
        self.each((x, y), spaces, |point, x, y| point.move_to(x, y))
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        let spaces = (&self.operator.domain, &self.operator.codomain);
        self.each((dx, dy), spaces, |point, dx, dy| point.push(dx, dy))
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        let spaces = (&self.operator.codomain, &self.operator.domain);
        self.each((dy, dx), spaces, |point, dy, dx| point.pull(dy, dx))
    }
}
