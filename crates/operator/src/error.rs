//! What can go wrong when operators are built, joined or applied.

use std::sync::Arc;

/// An operator that cannot be built or applied, in words that name the operator and the numbers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two operators do not fit end to end.
    #[error("cannot join `{first}` to `{second}`: the first gives {found}, the second takes {expected}")]
    Join {
        /// Operator that is applied first.
        first: String,
        /// Operator that is applied second.
        second: String,
        /// What the first one produces.
        found: String,
        /// What the second one takes.
        expected: String,
    },
    /// A vector of the wrong length was passed.
    #[error("`{operator}` takes {expected} numbers as its {role}, but was given {found}")]
    Length {
        /// Operator that was called.
        operator: String,
        /// Which argument: `input`, `output`, `tangent` or `cotangent`.
        role: &'static str,
        /// Length that it needs.
        expected: usize,
        /// Length that it got.
        found: usize,
    },
    /// A parameter of an operator is out of its range.
    #[error("`{operator}`: {message}")]
    Parameter {
        /// Operator that was to be built.
        operator: String,
        /// What was wrong, and what would be right.
        message: String,
    },
    /// A NaN or an infinity entered or left an operator.
    #[error("`{operator}`: {what} {index} is {value}, which is not a finite number")]
    NotFinite {
        /// Operator at which it was seen.
        operator: String,
        /// Which array.
        what: String,
        /// Flat index of the first bad entry.
        index: usize,
        /// The entry.
        value: f64,
    },
    /// A law of operators does not hold.
    #[error("`{operator}` breaks the {law} law: {found:.3e} where at most {allowed:.1e} is allowed")]
    Law {
        /// Operator under test.
        operator: String,
        /// `Taylor`, `dot-product`, `linearity` or `repeatability`.
        law: &'static str,
        /// Measured violation.
        found: f64,
        /// Tolerance.
        allowed: f64,
    },
    /// Code outside of this project (a Python function, say) failed.
    #[error("`{operator}`: {message}")]
    External {
        /// Operator that wraps the code.
        operator: String,
        /// Its own words.
        message: String,
        /// Its own error, where it had one.
        source: Option<Foreign>,
    },
}

/// An error of code outside of this project, as it was raised there.
#[derive(Debug, Clone)]
pub struct Foreign(Arc<dyn std::error::Error + Send + Sync>);

impl Foreign {
    /// Keeps an error.
    pub fn new(error: impl std::error::Error + Send + Sync + 'static) -> Foreign {
        Foreign(Arc::new(error))
    }

    /// The error, for who knows its type.
    pub fn error(&self) -> &(dyn std::error::Error + 'static) {
        &*self.0
    }
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Foreign {}

impl PartialEq for Foreign {
    /// Whether both are the same one.
    fn eq(&self, other: &Foreign) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Error {
    /// Refuses a vector that does not have the length it must have.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn check_length(
        operator: impl FnOnce() -> String,
        role: &'static str,
        found: usize,
        expected: usize,
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::Length { operator: operator(), role, expected, found })
    }

    /// A parameter error in the words of `message`.
    pub fn parameter(operator: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Parameter { operator: operator.into(), message: message.into() }
    }
}

/// Result of all operator calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
