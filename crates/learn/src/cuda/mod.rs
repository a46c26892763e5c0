//! Training on NVIDIA GPUs.
//!
//! Networks are the same layers with the same weights as on the processor, which is their oracle in the tests; products of matrices
//! are those of cuBLAS, the rest is `kernels.cu`. Driver, cuBLAS and NVRTC are loaded when a [`Device`] is opened, so that nothing of
//! CUDA is needed to build, and a program without a GPU runs as before.

mod device;
mod flow;
mod network;
mod reconstruction;
#[cfg(test)]
mod tests;
mod training;

pub use device::Device;
pub use flow::DeviceLikelihood;
pub use reconstruction::DeviceReconstruction;
pub use training::{Arrays, DeviceObjective, OnDevice, Weights};
