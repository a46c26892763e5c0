//! Where the networks of a training are trained.

use lookback_learn::flow::{FlowSection, MaximumLikelihood};
use lookback_learn::{AutoencoderSection, OnHost, Reconstruction, Trainer, Training, TrainingOptions};

use super::file::DeviceKind;
use crate::Result;

/// A device that is open.
pub(super) enum Device {
    Host,
    #[cfg(feature = "cuda")]
    Cuda(lookback_learn::cuda::Device),
}

impl Device {
    /// Opens what a file asks for.
    pub fn open(kind: DeviceKind) -> Result<Device> {
        match kind {
            DeviceKind::Cpu => Ok(Device::Host),
            #[cfg(feature = "cuda")]
            DeviceKind::Cuda => Ok(Device::Cuda(lookback_learn::cuda::Device::open()?)),
            #[cfg(not(feature = "cuda"))]
            DeviceKind::Cuda => Err(crate::Error::config(
                "device",
                "this program was built without GPUs: build it with the feature `cuda` (`cargo install --path crates/cli --features cuda`)",
            )),
        }
    }

    /// Hands the training of an autoencoder to `finish`.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn autoencoder<U>(
        &self,
        objective: Reconstruction<'_>,
        section: &AutoencoderSection,
        options: &TrainingOptions,
        training: Training,
        finish: impl FnOnce(&mut dyn Trainer) -> Result<U>,
    ) -> Result<U> {
        match self {
            Device::Host => finish(&mut OnHost { training, objective: &objective, options }),
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                use lookback_learn::cuda::{DeviceReconstruction, OnDevice};
                let objective = DeviceReconstruction::new(device, objective, section)?;
                finish(&mut OnDevice::new(device, &objective, options, training)?)
            }
        }
    }

    /// Hands the training of a flow to `finish`.
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables))]
    pub fn flow<U>(
        &self,
        objective: MaximumLikelihood<'_>,
        section: &FlowSection,
        options: &TrainingOptions,
        training: Training,
        finish: impl FnOnce(&mut dyn Trainer) -> Result<U>,
    ) -> Result<U> {
        match self {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) if lookback_learn::cuda::DeviceLikelihood::takes(section) => {
                use lookback_learn::cuda::{DeviceLikelihood, OnDevice};
                let objective = DeviceLikelihood::new(device, objective, section.clone())?;
                finish(&mut OnDevice::new(device, &objective, options, training)?)
            }
            _ => finish(&mut OnHost { training, objective: &objective, options }),
        }
    }
}
