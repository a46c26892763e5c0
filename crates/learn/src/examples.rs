//! What is learned from: rows, perhaps with the precision of every number, and what they depend on.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use crate::{Batch, Error, Result, Shape};

/// A set of examples of one shape.
#[derive(Debug, Clone)]
pub struct Examples {
    /// What a row is.
    pub shape: Shape,
    /// One example a row; zero where a number is missing.
    pub values: Batch<f32>,
    /// Inverse variance of every number over its mean, zero where a number is missing; all the same if `None`.
    pub precision: Option<Batch<f32>>,
    /// The inverse variance that a precision of one stands for, where standard deviations are known.
    pub unit: Option<f64>,
    /// What the latents of every example depend on, as the networks see it.
    pub condition: Option<Batch<f32>>,
}

impl Examples {
    /// Complete examples of the same precision.
    ///
    /// # Errors
    /// If a row has not the numbers of the shape, or a number is NaN or infinite.
    pub fn new(shape: Shape, values: Batch<f32>) -> Result<Examples> {
        let examples = Examples { shape, values, precision: None, unit: None, condition: None };
        examples.check()?;
        Ok(examples)
    }

    /// Examples whose NaNs are missing numbers, with standard deviations where they are known.
    ///
    /// # Errors
    /// As [`new`](Examples::new); also if a standard deviation is not above zero, or everything is missing.
    pub fn with_noise(shape: Shape, mut values: Batch<f32>, std: Option<&Batch<f32>>) -> Result<Examples> {
        let missing = values.data().iter().filter(|x| x.is_nan()).count();
        if missing == 0 && std.is_none() {
            return Examples::new(shape, values);
        }
        let mut precision = Batch::new(values.width(), vec![1.0f32; values.data().len()]);
        if let Some(std) = std {
            for (at, (precision, &std)) in precision.data_mut().iter_mut().zip(std.data()).enumerate() {
                if !(std > 0.0) {
                    let message = format!(
                        "standard deviation {at} is {std}: it must be above zero, or infinite if unknown"
                    );
                    return Err(Error::Data(message));
                }
                *precision = 1.0 / (std * std);
            }
        }
        for (value, precision) in values.data_mut().iter_mut().zip(precision.data_mut()) {
            if value.is_nan() {
                (*value, *precision) = (0.0, 0.0);
            }
        }
        let mean =
            precision.data().iter().map(|p| f64::from(*p)).sum::<f64>() / precision.data().len() as f64;
        if !(mean > 0.0) {
            return Err(Error::Data("every number is missing".into()));
        }
        precision.data_mut().iter_mut().for_each(|p| *p /= mean as f32);
        let examples =
            Examples { shape, values, precision: Some(precision), unit: std.map(|_| mean), condition: None };
        examples.check()?;
        Ok(examples)
    }

    /// Mean variance of the noise of each number over the examples that have it, where standard deviations are known; zero for numbers that none has.
    pub fn noise(&self) -> Option<Vec<f64>> {
        let (precision, unit) = (self.precision.as_ref()?, self.unit?);
        let of = |column: usize| {
            let all = precision.data().iter().skip(column).step_by(precision.width()).filter(|p| **p > 0.0);
            let (sum, count) =
                all.fold((0.0, 0.0), |(sum, n), p| (sum + 1.0 / (f64::from(*p) * unit), n + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        };
        Some((0..precision.width()).map(of).collect())
    }

    fn check(&self) -> Result<()> {
        if self.values.width() != self.shape.len() {
            let message = format!("an example has {} numbers, not {}", self.values.width(), self.shape.len());
            return Err(Error::Data(message));
        }
        match self.values.data().iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (at / self.values.width(), at % self.values.width());
                let value = self.values.data()[at];
                Err(Error::Data(format!(
                    "number {column} of example {row} is {value}, which is not a finite number"
                )))
            }
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.values.rows()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their latents `z` and, after them, what these depend on: rows for a flow.
    pub fn beside(&self, z: Batch<f32>) -> Batch<f32> {
        match &self.condition {
            None => z,
            Some(condition) => z.beside(condition, |row| row),
        }
    }

    /// The examples of these rows.
    pub fn subset(&self, rows: &[usize]) -> Examples {
        let pick = |batch: &Batch<f32>| batch.gather(rows.iter().copied());
        Examples {
            shape: self.shape,
            values: pick(&self.values),
            precision: self.precision.as_ref().map(pick),
            unit: self.unit,
            condition: self.condition.as_ref().map(pick),
        }
    }
}

/// What is done to numbers before a network sees them: `(x - offset) / scale`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Taken away first.
    pub offset: f32,
    /// Divided by then.
    pub scale: f32,
}

/// How the scaling is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingKind {
    /// The smallest number becomes 0, the largest 1.
    #[default]
    Range,
    /// Mean 0 and standard deviation 1.
    Standard,
    /// Numbers stay as they are.
    None,
}

impl ScalingKind {
    /// The scaling of these examples.
    ///
    /// # Errors
    /// If all numbers are the same.
    pub fn of(self, values: &Batch<f32>) -> Result<Scaling> {
        let data = values.data();
        let (offset, scale) = match self {
            ScalingKind::None => (0.0, 1.0),
            ScalingKind::Range => {
                let low = data.iter().copied().fold(f32::INFINITY, f32::min);
                let high = data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                (low, high - low)
            }
            ScalingKind::Standard => {
                let n = data.len() as f64;
                let mean = data.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
                let variance = data.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
                (mean as f32, variance.sqrt() as f32)
            }
        };
        if scale > 0.0 && scale.is_finite() {
            return Ok(Scaling { offset, scale });
        }
        Err(Error::Data("all numbers of the examples are the same: there is nothing to learn".into()))
    }
}

impl Scaling {
    /// To the network's numbers.
    pub fn apply<T: Real>(self, x: Batch<T>) -> Batch<T> {
        let (offset, scale) = self.numbers();
        x.map(|x: &mut T| *x = (*x - offset) / scale)
    }

    /// Back to the data's numbers.
    pub fn undo<T: Real>(self, x: Batch<T>) -> Batch<T> {
        let (offset, scale) = self.numbers();
        x.map(|x: &mut T| *x = *x * scale + offset)
    }

    /// Offset and scale in the precision of the rows.
    fn numbers<T: Real>(self) -> (T, T) {
        (T::of(f64::from(self.offset)), T::of(f64::from(self.scale)))
    }
}
