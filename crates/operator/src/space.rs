//! Named blocks of numbers: the domain and the codomain of an operator.

use std::fmt;

/// A named array with shape and unit; a part of a [`Space`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Name from the field: `kappa`, `gamma1`, `omega_m`.
    pub name: String,
    /// Shape in C order (last index fastest); empty for a scalar.
    pub shape: Vec<usize>,
    /// Unit as it is printed, empty if dimensionless.
    pub unit: String,
}

impl Block {
    /// A block with name, shape and unit.
    pub fn new(name: impl Into<String>, shape: &[usize], unit: impl Into<String>) -> Block {
        Block { name: name.into(), shape: shape.to_vec(), unit: unit.into() }
    }

    /// Number of entries; 1 for a scalar.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.shape.is_empty() {
            let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
            write!(f, "[{}]", sizes.join(" x "))?;
        }
        if !self.unit.is_empty() {
            write!(f, " ({})", self.unit)?;
        }
        Ok(())
    }
}

/// One flat vector seen as named blocks, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Space {
    blocks: Vec<Block>,
}

impl Space {
    /// A space of the given blocks, in this order.
    pub fn new(blocks: Vec<Block>) -> Space {
        Space { blocks }
    }

    /// A space of one block.
    pub fn single(name: impl Into<String>, shape: &[usize], unit: impl Into<String>) -> Space {
        Space { blocks: vec![Block::new(name, shape, unit)] }
    }

    /// The blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Total number of entries.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Block::len).sum()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Range of the flat vector that the block of this name fills.
    pub fn range(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let mut start = 0;
        for block in &self.blocks {
            if block.name == name {
                return Some(start..start + block.len());
            }
            start += block.len();
        }
        None
    }

    /// Blocks that are a single number: their names, and their places in the flat vector.
    pub fn numbers(&self) -> impl Iterator<Item = (&str, usize)> {
        let mut end = 0;
        self.blocks.iter().filter_map(move |block| {
            end += block.len();
            (block.len() == 1).then_some((block.name.as_str(), end - 1))
        })
    }

    /// This space followed by another.
    pub fn join(&self, other: &Space) -> Space {
        Space { blocks: self.blocks.iter().chain(&other.blocks).cloned().collect() }
    }

    /// The blocks of `count` points, one point after the other; their names have the number of the point.
    pub fn repeated(&self, count: usize) -> Space {
        let numbered = |point: usize| {
            let name = move |block: &Block| format!("{} {point}", block.name);
            self.blocks.iter().map(move |block| Block { name: name(block), ..block.clone() })
        };
        Space { blocks: (0..count).flat_map(numbered).collect() }
    }

    /// True if both have the same shapes in the same order; names and units may differ.
    pub fn fits(&self, other: &Space) -> bool {
        self.blocks.len() == other.blocks.len()
            && self.blocks.iter().zip(&other.blocks).all(|(a, b)| a.shape == b.shape)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.blocks.iter().map(Block::to_string).collect();
        write!(f, "{}", names.join(", "))
    }
}
