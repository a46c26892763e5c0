//! What can go wrong between a run file and its results, in words for the user.

use std::path::{Path, PathBuf};

/// A failure with its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`.
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Its answer.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what would be right.
        message: String,
    },
    /// The run file asks for something that cannot be.
    #[error("[{section}] {message}")]
    Config {
        /// Section of the run file.
        section: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The results folder is not free.
    #[error("{0}")]
    Busy(String),
    /// A model could not be built or applied.
    #[error(transparent)]
    Model(#[from] lookback_operator::Error),
    /// A universe could not be simulated.
    #[error(transparent)]
    Universe(#[from] lookback_nbody::Error),
    /// Something could not be learned.
    #[error(transparent)]
    Learning(#[from] lookback_learn::Error),
    /// Data or noise make no sense.
    #[error(transparent)]
    Data(#[from] lookback_likelihood::Error),
    /// Inference failed.
    #[error(transparent)]
    Inference(#[from] lookback_inference::Error),
    /// A picture or a page could not be drawn.
    #[error("cannot draw {what}: {message}")]
    Drawing {
        /// Which picture.
        what: String,
        /// The drawing library's words.
        message: String,
    },
    /// The user asked to stop; what was done is kept.
    #[error("stopped on request; {goes_on}")]
    Interrupted {
        /// How to go on.
        goes_on: String,
    },
}

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { doing, path, source }
    }

    pub(crate) fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    pub(crate) fn config(section: impl Into<String>, message: impl Into<String>) -> Error {
        Error::Config { section: section.into(), message: message.into() }
    }
}
