//! The layers, one a file.

mod activation;
mod batch_norm;
mod convolution;
mod dense;
mod dropout;
mod masked;
mod patches;
mod residual;
mod spectral;

pub use activation::{Activation, Function};
pub(crate) use activation::{sigmoid, softplus};
pub use batch_norm::BatchNorm;
pub use convolution::{Convolution, TransposedConvolution};
pub use dense::Dense;
pub(crate) use dense::{add_bias, add_column_sums};
pub use dropout::Dropout;
pub use masked::MaskedDense;
pub use patches::Image;
pub(crate) use patches::Patches;
pub use residual::Residual;
pub use spectral::Norm;
