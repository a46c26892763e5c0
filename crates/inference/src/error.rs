//! How inference can fail.

/// A failure of inference, in words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be evaluated.
    #[error(transparent)]
    Model(#[from] lookback_operator::Error),
    /// The energy is not finite where the method starts.
    #[error(
        "the energy at the starting point is {energy}: the model gives an impossible or non-finite prediction there"
    )]
    Start {
        /// The energy.
        energy: f64,
    },
    /// The gradient is not finite where the method starts.
    #[error("the gradient at the starting point is {value} for latent {index}, though the energy is finite")]
    StartGradient {
        /// The first latent of which this is true.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// The method does not suit the target.
    #[error("{0}")]
    Unsuitable(String),
    /// An option is out of range.
    #[error("{0}")]
    Option(String),
    /// A solver or optimiser gave up.
    #[error("{0}")]
    NotConverged(String),
    /// The user asked to stop. The state of the method is that of the last complete step.
    #[error("stopped on request")]
    Interrupted,
}

impl Error {
    /// True where a point is impossible, and others may not be.
    pub(crate) fn is_of_point(&self) -> bool {
        matches!(self, Error::Start { .. } | Error::Model(lookback_operator::Error::Parameter { .. }))
    }
}

/// Result of inference.
pub type Result<T, E = Error> = std::result::Result<T, E>;
