//! The forward model of a run: steps from the signal to the data, with parameters carried along until they are used.

use std::sync::Arc;

use lookback_imaging::{Mask, sigma_of_fwhm, smooth};
use lookback_inference::Number;
use lookback_lensing::{ReducedShear, ShearCalibration, kaiser_squires};
use lookback_mesh::{Grid, Readout};
use lookback_operator::{
    Chain, DynOperator, Forget, Identity, LinearOperator, Operator, Renamed, Space, Stack,
};

use super::{Observation, Places, Prior, prior};
use crate::runfile::{ForwardStep, RunFile};
use crate::{Error, Result};

/// Names of the parameters, in the order in which the steps use them.
pub(crate) fn order_of_parameters(run: &RunFile) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for (i, step) in run.forward.iter().enumerate() {
        let ForwardStep::Calibrate { parameter } = step else { continue };
        let section = format!("forward, step {}", i + 1);
        let known = run.prior.get(parameter).is_some_and(|section| prior::distribution(section).is_some());
        if !known {
            return Err(Error::config(
                section,
                format!("there is no [prior.{parameter}] with a distribution"),
            ));
        }
        if order.contains(parameter) {
            return Err(Error::config(section, format!("`{parameter}` is used twice")));
        }
        order.push(parameter.clone());
    }
    let inside = |name: &String| {
        run.prior.values().any(
            |section| matches!(section, crate::runfile::PriorSection::LightCone { free, .. } if free.contains(name)),
        )
    };
    if let Some(name) = order.iter().find(|name| inside(name)) {
        return Err(Error::config(format!("prior.{name}"), "is used by the universe and by a step"));
    }
    let unused = |(name, section): &(&String, &crate::runfile::PriorSection)| {
        prior::distribution(section).is_some() && !order.contains(name) && !inside(name)
    };
    match run.prior.iter().find(unused) {
        Some((name, _)) => Err(Error::config(
            format!("prior.{name}"),
            "no step of the forward model uses it, and no universe has it free",
        )),
        None => Ok(order),
    }
}

/// Standard deviation \[rad\] of a Gaussian with this full width at half maximum \[arcmin\].
pub(crate) fn sigma(fwhm_arcmin: f64) -> f64 {
    sigma_of_fwhm((fwhm_arcmin / 60.0).to_radians())
}

/// A forward model that grows step by step.
pub(crate) struct Forward<T: Number> {
    pub(crate) links: Vec<DynOperator<T>>,
    maps: Space,
    /// Parameters that have not been used yet.
    carried: Space,
    /// Whether the maps are shear.
    sheared: bool,
    /// Maps of galaxies that are counted, which shear passes by.
    counted: usize,
}

impl<T: Number> Forward<T> {
    pub(crate) fn build(run: &RunFile, grid: &Grid, prior: &Prior<T>) -> Result<Forward<T>> {
        let signal = prior.operator.codomain();
        let (field, parameters) = signal.blocks().split_at(prior.maps);
        let mut forward = Forward {
            links: Vec::new(),
            maps: Space::new(field.to_vec()),
            carried: Space::new(parameters[prior.used()..].to_vec()),
            sheared: false,
            counted: prior.universe.as_ref().map_or(0, |universe| universe.cone.settings().galaxies()),
        };
        if prior.used() > 0 {
            let used = prior.maps..prior.maps + prior.used();
            forward.links.push(Forget::new(signal.clone(), used)?.shared());
        }
        for (i, step) in run.forward.iter().enumerate() {
            forward.add(step, grid).map_err(|error| match error {
                Error::Model(error) => Error::config(format!("forward, step {}", i + 1), error.to_string()),
                other => other,
            })?;
        }
        Ok(forward)
    }

    /// The maps that the model predicts.
    pub(crate) fn maps(&self) -> &Space {
        &self.maps
    }

    pub(crate) fn apply(&self, signal: &[T]) -> Result<Vec<T>> {
        if self.links.is_empty() {
            return Ok(signal.to_vec());
        }
        Ok(Chain::new(self.links.clone())?.apply(signal)?)
    }

    fn add(&mut self, step: &ForwardStep, grid: &Grid) -> Result<()> {
        let operator: DynOperator<T> = match step {
            ForwardStep::Shear {} => self.shear_each(|| Ok(kaiser_squires(grid)?.shared()))?,
            ForwardStep::ReducedShear {} => {
                self.shear_each(|| Ok(Arc::new(ReducedShear::new(grid)?) as DynOperator<T>))?
            }
            ForwardStep::Smooth { fwhm_arcmin } => {
                if !(*fwhm_arcmin > 0.0 && fwhm_arcmin.is_finite()) {
                    let message = format!("`fwhm_arcmin` must be a positive number, not {fwhm_arcmin}");
                    return Err(Error::config("forward", message));
                }
                smooth(grid, self.maps.clone(), sigma(*fwhm_arcmin))?.shared()
            }
            ForwardStep::Calibrate { parameter } => {
                self.carried = Space::new(self.carried.blocks()[1..].to_vec());
                if self.counted == self.maps.blocks().len() {
                    let message = format!("shear is calibrated, and not {}", self.maps);
                    return Err(lookback_operator::Error::parameter("calibrate", message).into());
                }
                let shear = &self.maps.blocks()[..self.maps.blocks().len() - self.counted];
                let shear = Space::new(shear.to_vec());
                Arc::new(ShearCalibration::beside(&shear, &self.galaxies(), parameter))
            }
        };
        self.join(operator)
    }

    /// Shear of one map of convergence, for each of several: what comes out is called by the number of the map. Galaxies pass
    /// by.
    fn shear_each(&mut self, one: impl Fn() -> Result<DynOperator<T>>) -> Result<DynOperator<T>> {
        let lensed = self.maps.blocks().len() - self.counted;
        if std::mem::replace(&mut self.sheared, true) || lensed == 0 {
            let message = format!("shear is made from maps of convergence, not from {}", self.maps);
            return Err(lookback_operator::Error::parameter("shear", message).into());
        }
        if self.maps.blocks().len() == 1 {
            return one();
        }
        let numbered = |map: usize| -> Result<DynOperator<T>> {
            let number = if lensed == 1 { String::new() } else { format!("_{}", map + 1) };
            Ok(Arc::new(Renamed::new(one()?, |name| format!("{name}{number}"))))
        };
        let mut parts: Vec<DynOperator<T>> = (0..lensed).map(numbered).collect::<Result<_>>()?;
        if self.counted > 0 {
            parts.push(Identity::new(self.galaxies()).shared());
        }
        Ok(Arc::new(Stack::new(parts)?))
    }

    /// Number of maps of counted galaxies.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Maps of galaxies: the last ones.
    fn galaxies(&self) -> Space {
        let blocks = self.maps.blocks();
        Space::new(blocks[blocks.len() - self.counted..].to_vec())
    }

    /// Joins an operator on the maps, with the carried parameters passing by.
    fn join(&mut self, operator: DynOperator<T>) -> Result<()> {
        self.maps = operator.codomain().clone();
        let link = if self.carried.is_empty() {
            operator
        } else {
            Arc::new(Stack::new(vec![operator, Identity::new(self.carried.clone()).shared()])?)
        };
        if let Some(last) = self.links.last() {
            Chain::new(vec![last.clone(), link.clone()])?;
        }
        self.links.push(link);
        Ok(())
    }

    /// Ends the model where the data are: at the seen pixels, or at the galaxies.
    pub(crate) fn observe(&mut self, observation: &Observation, grid: &Grid) -> Result<()> {
        let operator: DynOperator<T> = match &observation.places {
            Places::Pixels => Mask::each(self.maps.clone(), &observation.masks)?.shared(),
            Places::Galaxies { positions, .. } => Readout::new(grid, self.maps.clone(), positions)?.shared(),
        };
        self.join(operator)
    }
}
