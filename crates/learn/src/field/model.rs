//! A prior of maps and its file.

use std::collections::HashMap;

use lookback_mesh::Grid;
use lookback_operator::{DynOperator, Real};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{FieldGenerator, FieldSection, learned_field};
use crate::{DataSource, Error, Result};

/// What a prior of maps is and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldCard {
    /// Version that trained it.
    pub lookback_version: String,
    /// What it is called.
    pub title: String,
    /// Seed of its training.
    pub seed: u64,
    /// Size of its pixels [arcmin].
    pub pixel_arcmin: f64,
    /// Pixels of a training map along each axis.
    pub shape: [usize; 2],
    /// How much it can say.
    pub field: FieldSection,
    /// Wave numbers of the knots of its filters [1/rad].
    pub ell: Vec<f64>,
    /// Files that it was trained on, with their digests.
    pub data: Vec<DataSource>,
    /// How good it is, by name.
    pub scores: Vec<(String, f64)>,
}

/// A prior of maps, ready for use.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldModel {
    card: FieldCard,
    generator: FieldGenerator,
    weights: Vec<f32>,
}

/// Key of the card among the metadata.
const CARD: &str = "lookback_field_card";

/// Two sizes of a pixel are the same if they differ by less than this.
const SAME_PIXEL: f64 = 1e-3;

impl FieldModel {
    /// From its parts.
    ///
    /// # Errors
    /// If they do not fit the card.
    pub fn new(card: FieldCard, weights: Vec<f32>) -> Result<FieldModel> {
        let generator = FieldGenerator::of(card.field, card.ell.clone())?;
        if weights.len() != generator.len() {
            let message =
                format!("{} numbers of a prior of maps where {} are needed", weights.len(), generator.len());
            return Err(Error::Data(message));
        }
        if weights.iter().any(|w| !w.is_finite()) {
            return Err(Error::Data("a weight is not a finite number".into()));
        }
        Ok(FieldModel { card, generator, weights })
    }

    /// What it is.
    pub fn card(&self) -> &FieldCard {
        &self.card
    }

    /// Its layers.
    pub fn generator(&self) -> &FieldGenerator {
        &self.generator
    }

    /// Its weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// True for a file of a prior of maps, which may still be damaged.
    pub fn is(bytes: &[u8]) -> bool {
        let header = SafeTensors::read_metadata(bytes);
        header.is_ok_and(|(_, header)| header.metadata().as_ref().is_some_and(|m| m.contains_key(CARD)))
    }

    /// The operator from white noise to maps on a grid of angles [rad].
    ///
    /// # Errors
    /// If the grid's pixels are not those that were trained on.
    pub fn prior<T: Real>(&self, grid: &Grid, name: &str, unit: &str) -> Result<DynOperator<T>> {
        let trained = (self.card.pixel_arcmin / 60.0).to_radians();
        if grid.shape().len() != 2
            || grid.spacing().iter().any(|pixel| (pixel / trained - 1.0).abs() > SAME_PIXEL)
        {
            let arcmin: Vec<f64> = grid.spacing().iter().map(|pixel| pixel.to_degrees() * 60.0).collect();
            let message = format!(
                "the model was trained on pixels of {} arcmin, and these have {arcmin:.4?}",
                self.card.pixel_arcmin
            );
            return Err(Error::Data(message));
        }
        learned_field(&self.generator, &self.weights, grid, name, unit)
            .map_err(|error| Error::Data(error.to_string()))
    }

    /// The grid of a training map.
    ///
    /// # Errors
    /// If the card has no size.
    pub fn grid(&self) -> Result<Grid> {
        let pixel = (self.card.pixel_arcmin / 60.0).to_radians();
        let [rows, columns] = self.card.shape;
        Grid::sky(rows, columns, pixel).map_err(|error| Error::Data(error.to_string()))
    }

    /// The model as a safetensors file.
    ///
    /// # Errors
    /// If the card cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |error: String| Error::Data(format!("the model cannot be written: {error}"));
        let card = serde_json::to_string(&self.card).map_err(|error| failed(error.to_string()))?;
        let bytes: Vec<u8> = self.weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut views = Vec::new();
        let mut start = 0;
        for weight in self.generator.weights() {
            let range = 4 * start..4 * (start + weight.len());
            start += weight.len();
            let view = TensorView::new(Dtype::F32, weight.shape, &bytes[range]);
            views.push((weight.name, view.map_err(|error| failed(error.to_string()))?));
        }
        let metadata = HashMap::from([(CARD.to_string(), card)]);
        safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))
    }

    /// Reads a model.
    ///
    /// # Errors
    /// If the file is not one, or its arrays do not fit its card.
    pub fn from_bytes(bytes: &[u8]) -> Result<FieldModel> {
        let broken = |error: String| Error::Data(format!("is not a prior of maps: {error}"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let card = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(CARD))
            .ok_or_else(|| broken("it has no card; `lookback train` with [field] writes one".into()))?;
        let card: FieldCard = serde_json::from_str(card).map_err(|error| broken(error.to_string()))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let mut weights = Vec::new();
        for weight in FieldGenerator::of(card.field, card.ell.clone())?.weights() {
            let view = tensors.tensor(&weight.name).map_err(|error| broken(error.to_string()))?;
            if view.dtype() != Dtype::F32 || view.data().len() != 4 * weight.len() {
                return Err(broken(format!("`{}` has not {} numbers", weight.name, weight.len())));
            }
            weights.extend(view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        }
        FieldModel::new(card, weights)
    }
}
