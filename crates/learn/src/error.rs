//! What can go wrong when something is to be learned.

/// An architecture that cannot be built, data that cannot be learned from, a training that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network that cannot be built.
    #[error("{place}{message}")]
    Architecture {
        /// Which layer, from the outside in; empty if none.
        place: String,
        /// What was wrong, and what would be right.
        message: String,
    },
    /// An option out of its range.
    #[error("`{option}` {message}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What would be right.
        message: String,
    },
    /// Data that cannot be learned from.
    #[error("{0}")]
    Data(String),
    /// Training left the finite numbers.
    #[error("the loss of step {step} is {loss}: a smaller `learning_rate` may help")]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
    },
    /// A GPU that is not there, or has failed.
    #[error("{0}")]
    Device(String),
    /// A flow without an answer.
    #[error("{0}")]
    Flow(String),
}

impl Error {
    pub(crate) fn architecture(message: impl Into<String>) -> Error {
        Error::Architecture { place: String::new(), message: message.into() }
    }

    pub(crate) fn in_layer(self, index: usize) -> Error {
        match self {
            Error::Architecture { place, message } => {
                Error::Architecture { place: format!("layer {index}: {place}"), message }
            }
            other => other,
        }
    }

    /// A wrong option.
    pub fn option(option: &'static str, message: impl Into<String>) -> Error {
        Error::Option { option, message: message.into() }
    }
}

/// Result of everything that learns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
