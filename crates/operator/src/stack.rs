//! Operators side by side: each acts on blocks of its own.

use crate::{DynOperator, Error, Linearization, Operator, Real, Result, Space};

/// `(x_1, x_2, ...) -> (F_1(x_1), F_2(x_2), ...)`: the block-diagonal join of operators.
pub struct Stack<T: Real> {
    parts: Vec<DynOperator<T>>,
    domain: Space,
    codomain: Space,
}

impl<T: Real> Stack<T> {
    /// Puts operators side by side.
    ///
    /// # Errors
    /// If the list is empty, or two output blocks have the same name.
    pub fn new(parts: Vec<DynOperator<T>>) -> Result<Stack<T>> {
        if parts.is_empty() {
            return Err(Error::parameter("stack", "needs at least one operator"));
        }
        let join = |spaces: Vec<&Space>| spaces.iter().fold(Space::default(), |all, space| all.join(space));
        let domain = join(parts.iter().map(|part| part.domain()).collect());
        let codomain = join(parts.iter().map(|part| part.codomain()).collect());
        for (i, block) in codomain.blocks().iter().enumerate() {
            if codomain.blocks()[..i].iter().any(|other| other.name == block.name) {
                return Err(Error::parameter("stack", format!("two blocks are called `{}`", block.name)));
            }
        }
        Ok(Stack { parts, domain, codomain })
    }

    /// The operators in the order of their blocks.
    pub fn parts(&self) -> &[DynOperator<T>] {
        &self.parts
    }
}

impl<T: Real> Operator<T> for Stack<T> {
    fn name(&self) -> String {
        let names: Vec<String> = self.parts.iter().map(|part| part.name()).collect();
        format!("({})", names.join(" | "))
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn is_linear(&self) -> bool {
        self.parts.iter().all(|part| part.is_linear())
    }

    fn linearization(&self) -> Box<dyn Linearization<T> + '_> {
        let parts = self.parts.iter().map(|part| Part {
            inside: part.domain().len(),
            outside: part.codomain().len(),
            linearization: part.linearization(),
        });
        Box::new(StackLinearization { parts: parts.collect() })
    }
}

struct Part<'a, T: Real> {
    inside: usize,
    outside: usize,
    linearization: Box<dyn Linearization<T> + 'a>,
}

struct StackLinearization<'a, T: Real> {
    parts: Vec<Part<'a, T>>,
}

impl<T: Real> StackLinearization<'_, T> {
    fn each(
        &mut self,
        mut x: &[T],
        mut y: &mut [T],
        sizes: impl Fn(&Part<'_, T>) -> (usize, usize),
        step: impl Fn(&mut dyn Linearization<T>, &[T], &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let (inside, outside) =
            self.parts.iter().map(&sizes).fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        let wrong = |role, expected, found| Error::Length { operator: "stack".into(), role, expected, found };
        if x.len() != inside {
            return Err(wrong("input", inside, x.len()));
        }
        if y.len() != outside {
            return Err(wrong("output", outside, y.len()));
        }
        for part in &mut self.parts {
            let (inside, outside) = sizes(part);
            let (input, rest) = x.split_at(inside);
            let (output, remaining) = y.split_at_mut(outside);
            step(part.linearization.as_mut(), input, output)?;
            (x, y) = (rest, remaining);
        }
        Ok(())
    }
}

impl<T: Real> Linearization<T> for StackLinearization<'_, T> {
    fn move_to(&mut self, x: &[T], y: &mut [T]) -> Result<()> {
        self.each(x, y, |part| (part.inside, part.outside), |part, x, y| part.move_to(x, y))
    }

    fn push(&mut self, dx: &[T], dy: &mut [T]) -> Result<()> {
        self.each(dx, dy, |part| (part.inside, part.outside), |part, dx, dy| part.push(dx, dy))
    }

    fn pull(&mut self, dy: &[T], dx: &mut [T]) -> Result<()> {
        self.each(dy, dx, |part| (part.outside, part.inside), |part, dy, dx| part.pull(dy, dx))
    }
}
