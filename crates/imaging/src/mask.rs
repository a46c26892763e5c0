//! Masks: the part of a map that was observed.

use lookback_operator::{Block, Error, LinearOperator, Real, Result, Space};

/// Keeps the observed entries of every block and drops the others; the adjoint puts zeros in their place.
pub struct Mask {
    domain: Space,
    codomain: Space,
    entries: usize,
    kept: Vec<u32>,
}

impl Mask {
    /// Keeps the entries where `observed` is true, in every block of `domain`.
    ///
    /// # Errors
    /// If a block has another length than the mask, or nothing is observed.
    pub fn new(domain: Space, observed: &[bool]) -> Result<Mask> {
        if let Some(block) = domain.blocks().iter().find(|block| block.len() != observed.len()) {
            return Err(Error::parameter(
                "mask",
                format!("has {} entries, but covers {block}", observed.len()),
            ));
        }
        let kept: Vec<u32> = (0u32..).zip(observed).filter(|(_, seen)| **seen).map(|(i, _)| i).collect();
        if kept.is_empty() {
            return Err(Error::parameter("mask", "hides every entry: nothing was observed"));
        }
        let blocks = domain.blocks().iter();
        let blocks = blocks.map(|block| Block::new(block.name.clone(), &[kept.len()], block.unit.clone()));
        let codomain = Space::new(blocks.collect());
        Ok(Mask { domain, codomain, entries: observed.len(), kept })
    }
}

impl<T: Real> LinearOperator<T> for Mask {
    type Scratch = ();

    fn name(&self) -> String {
        format!("mask ({} of {} seen)", self.kept.len(), self.entries)
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, map: &[T], seen: &mut [T], (): &mut ()) {
        for (map, seen) in map.chunks(self.entries).zip(seen.chunks_mut(self.kept.len())) {
            seen.iter_mut().zip(&self.kept).for_each(|(out, &i)| *out = map[i as usize]);
        }
    }

    fn adjoint(&self, seen: &[T], map: &mut [T], (): &mut ()) {
        for (map, seen) in map.chunks_mut(self.entries).zip(seen.chunks(self.kept.len())) {
            map.fill(T::zero());
            seen.iter().zip(&self.kept).for_each(|(&value, &i)| map[i as usize] = value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_that_do_not_fit_are_refused() {
        let space = Space::single("kappa", &[2, 2], "");
        assert!(
            Mask::new(space.clone(), &[true; 3]).err().expect("refused").to_string().contains("3 entries")
        );
        assert!(Mask::new(space, &[false; 4]).err().expect("refused").to_string().contains("nothing"));
    }
}
