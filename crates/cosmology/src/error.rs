//! What can be wrong with a cosmology.

/// A cosmology that cannot be computed, in words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is outside the range of the model.
    #[error("{name} = {value} is out of range: {expected}")]
    Parameter {
        /// Name as in run files.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What would be right.
        expected: String,
    },
    /// A table from a file cannot be used.
    #[error("{what} table{}: {message}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Table {
        /// What it holds.
        what: &'static str,
        /// Line of the file, from 1.
        line: Option<usize>,
        /// What was wrong, and what would be right.
        message: String,
    },
    /// A distance or a redshift is beyond what the model describes.
    #[error("{what} = {value} is out of range: {expected}")]
    Range {
        /// Which quantity.
        what: &'static str,
        /// What was asked for.
        value: f64,
        /// What would be right.
        expected: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
