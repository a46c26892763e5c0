//! What can be wrong with data and noise.

use lookback_operator::{Real, Space};

/// Data or noise that make no sense, with the place.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vector has another length than the prediction.
    #[error("{what} has {found} entries, but the prediction {space} has {expected}")]
    Length {
        /// Which vector.
        what: &'static str,
        /// Its length.
        found: usize,
        /// Length of the prediction.
        expected: usize,
        /// The prediction.
        space: String,
    },
    /// An entry is out of range.
    #[error("{what} {index} is {value}; {rule}")]
    Value {
        /// Which vector.
        what: &'static str,
        /// Flat index of the first bad entry.
        index: usize,
        /// The entry.
        value: f64,
        /// What would be right.
        rule: &'static str,
    },
    /// No datum counts.
    #[error("every datum is masked: there is nothing to infer from")]
    Empty,
}

/// Result of building a likelihood.
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn length(what: &'static str, found: usize, space: &Space) -> Result<()> {
    if found == space.len() {
        return Ok(());
    }
    Err(Error::Length { what, found, expected: space.len(), space: space.to_string() })
}

pub(crate) fn values<T: Real>(
    what: &'static str,
    entries: &[T],
    right: impl Fn(f64) -> bool,
    rule: &'static str,
) -> Result<()> {
    match entries.iter().position(|x| !right(x.f64())) {
        None => Ok(()),
        Some(index) => Err(Error::Value { what, index, value: entries[index].f64(), rule }),
    }
}

/// Rule for noise levels, shared by the likelihoods that have them.
pub(crate) const POSITIVE: &str = "it must be positive and finite, or infinite to mask the datum";

/// Turns noise levels into inverse ones (zero where infinite, that is masked), and counts the data that are left.
pub(crate) fn inverse_noise<T: Real>(what: &'static str, sigma: &[T]) -> Result<(Vec<T>, usize)> {
    values(what, sigma, |s| s > 0.0, POSITIVE)?;
    let inverse: Vec<T> = sigma.iter().map(|s| s.recip()).collect();
    values(what, &inverse, f64::is_finite, POSITIVE)?;
    let seen = inverse.iter().filter(|w| **w > T::zero()).count();
    if seen == 0 { Err(Error::Empty) } else { Ok((inverse, seen)) }
}

/// Checks data where they count, and puts zero where they do not.
pub(crate) fn masked_data<T: Real>(mut data: Vec<T>, inverse: &[T], space: &Space) -> Result<Vec<T>> {
    length("data", data.len(), space)?;
    data.iter_mut().zip(inverse).filter(|(_, w)| **w == T::zero()).for_each(|(d, _)| *d = T::zero());
    values("datum", &data, f64::is_finite, "it must be finite where it is not masked")?;
    Ok(data)
}
