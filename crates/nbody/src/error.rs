//! What can be wrong with a simulation.

/// A simulation that cannot be set up, in words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range.
    #[error("simulation: {0}")]
    Setting(String),
    /// The cosmology cannot be computed.
    #[error(transparent)]
    Cosmology(#[from] lookback_cosmology::Error),
    /// A mesh or an operator cannot be made.
    #[error(transparent)]
    Operator(#[from] lookback_operator::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl From<Error> for lookback_operator::Error {
    fn from(error: Error) -> lookback_operator::Error {
        match error {
            Error::Operator(error) => error,
            other => lookback_operator::Error::parameter("simulation", other.to_string()),
        }
    }
}
