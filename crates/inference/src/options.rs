//! Options that are out of range are refused by name, before anything begins.

use crate::{Error, Result};

/// Refuses counts of zero.
///
/// # Errors
/// [`Error::Option`], naming the first.
pub(crate) fn at_least_one(counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => Err(Error::Option(format!("`{name}` must be at least 1"))),
        None => Ok(()),
    }
}

/// Refuses numbers that are not finite, or below their least.
///
/// # Errors
/// [`Error::Option`], naming the first.
pub(crate) fn at_least(numbers: &[(&str, f64, f64)]) -> Result<()> {
    match numbers.iter().find(|(_, value, least)| !(value.is_finite() && value >= least)) {
        Some((name, value, _)) => Err(Error::Option(format!("`{name}` is out of range: {value}"))),
        None => Ok(()),
    }
}
