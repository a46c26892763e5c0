//! Masks: the part of a map that was observed.

use lookback_operator::{Block, Error, LinearOperator, Real, Result, Space};

/// Keeps the observed entries of every block and drops the others; the adjoint puts zeros in their place.
pub struct Mask {
    domain: Space,
    codomain: Space,
    /// Places that are kept, among all entries.
    kept: Vec<u32>,
}

impl Mask {
    /// Keeps the entries where `observed` is true, in every block of `domain`.
    ///
    /// # Errors
    /// If a block has another length than the mask, or nothing is observed.
    pub fn new(domain: Space, observed: &[bool]) -> Result<Mask> {
        let blocks = domain.blocks().len();
        Mask::each(domain, &vec![observed; blocks])
    }

    /// Keeps in each block of `domain` the entries where the mask of this block is true.
    ///
    /// # Errors
    /// If there are more or fewer masks than blocks, a block has another length than its mask, or nothing of it is observed.
    pub fn each<M: AsRef<[bool]>>(domain: Space, observed: &[M]) -> Result<Mask> {
        if observed.len() != domain.blocks().len() {
            let message = format!("has {} parts, but covers {domain}", observed.len());
            return Err(Error::parameter("mask", message));
        }
        let (mut kept, mut blocks, mut first) = (Vec::new(), Vec::new(), 0u32);
        for (block, observed) in domain.blocks().iter().zip(observed) {
            let observed = observed.as_ref();
            if block.len() != observed.len() {
                let message = format!("has {} entries, but covers {block}", observed.len());
                return Err(Error::parameter("mask", message));
            }
            let before = kept.len();
            kept.extend((first..).zip(observed).filter(|(_, seen)| **seen).map(|(place, _)| place));
            if kept.len() == before {
                let message = format!("hides every entry of {block}: nothing was observed");
                return Err(Error::parameter("mask", message));
            }
            blocks.push(Block::new(block.name.clone(), &[kept.len() - before], block.unit.clone()));
            first += block.len() as u32;
        }
        Ok(Mask { domain, codomain: Space::new(blocks), kept })
    }
}

impl<T: Real> LinearOperator<T> for Mask {
    type Scratch = ();

    fn name(&self) -> String {
        format!("mask ({} of {} seen)", self.kept.len(), self.domain.len())
    }

    fn domain(&self) -> &Space {
        &self.domain
    }

    fn codomain(&self) -> &Space {
        &self.codomain
    }

    fn scratch(&self) {}

    fn forward(&self, map: &[T], seen: &mut [T], (): &mut ()) {
        seen.iter_mut().zip(&self.kept).for_each(|(out, &i)| *out = map[i as usize]);
    }

    fn adjoint(&self, seen: &[T], map: &mut [T], (): &mut ()) {
        map.fill(T::zero());
        seen.iter().zip(&self.kept).for_each(|(&value, &i)| map[i as usize] = value);
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
        assert!(
            Mask::new(space.clone(), &[false; 4]).err().expect("refused").to_string().contains("nothing")
        );
        let said = Mask::each(space, &[[true; 4], [true; 4]]).err().expect("refused").to_string();
        assert!(said.contains("2 parts"), "{said}");
    }

    #[test]
    fn each_map_may_have_a_mask_of_its_own() {
        let space = Space::new(["kappa", "galaxies"].map(|name| Block::new(name, &[3], "")).to_vec());
        let mask = Mask::each(space, &[[true, false, true], [false, true, false]]).expect("fits");
        let (mut seen, mut back) = ([0.0; 3], [7.0; 6]);
        LinearOperator::<f64>::forward(&mask, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut seen, &mut ());
        LinearOperator::<f64>::adjoint(&mask, &seen, &mut back, &mut ());
        assert_eq!((seen, back), ([1.0, 3.0, 5.0], [1.0, 0.0, 3.0, 0.0, 5.0, 0.0]));
    }
}
