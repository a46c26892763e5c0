//! What the flow of a model depends on: the class of an example, or numbers that belong to it.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use crate::{Batch, Error, Result};

/// What kind of numbers a flow depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// Classes, counted from 0: one whole number an example.
    Labels,
    /// Any finite numbers, as many for each example.
    Parameters,
}

/// What a flow depends on, and how its numbers become those that the networks see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// One of so many classes: a column for each, 1 where it is the class of the example and 0 elsewhere.
    Labels {
        /// How many there are.
        classes: usize,
    },
    /// `(x - offset) / scale`.
    Parameters {
        /// Taken away first: the means of the training examples.
        offset: Vec<f64>,
        /// Divided by then: their standard deviations.
        scale: Vec<f64>,
    },
}

/// Most classes: each is a column of every network of a flow.
const MOST_CLASSES: f64 = 1000.0;

impl Condition {
    /// What the numbers of the training examples (`width` each) say.
    ///
    /// # Errors
    /// If labels are no whole numbers from 0 on, or a parameter is not finite or the same for all examples.
    pub fn learn(kind: ConditionKind, values: &[f64], width: usize) -> Result<Condition> {
        match kind {
            ConditionKind::Labels if width == 1 => {
                let label = |x: f64| (0.0..MOST_CLASSES).contains(&x) && x.fract() == 0.0;
                if let Some(at) = values.iter().position(|&x| !label(x)) {
                    let message =
                        format!("label {at} is {}: classes are counted 0, 1, ... up to 999", values[at]);
                    return Err(Error::Data(message));
                }
                let largest = values.iter().copied().fold(0.0, f64::max);
                Ok(Condition::Labels { classes: largest as usize + 1 })
            }
            ConditionKind::Labels => {
                Err(Error::Data(format!("{width} numbers for each example, where a label is one")))
            }
            ConditionKind::Parameters => {
                finite(values, width)?;
                let rows = values.len() as f64 / width as f64;
                let column = |i: usize| values.iter().skip(i).step_by(width);
                let offset: Vec<f64> = (0..width).map(|i| column(i).sum::<f64>() / rows).collect();
                let variance = |i: usize| column(i).map(|x| (x - offset[i]).powi(2)).sum::<f64>() / rows;
                let scale: Vec<f64> = (0..width).map(|i| variance(i).sqrt()).collect();
                match scale.iter().position(|scale| !(*scale > 0.0)) {
                    None => Ok(Condition::Parameters { offset, scale }),
                    Some(i) => Err(Error::Data(format!("parameter {i} is {} everywhere", offset[i]))),
                }
            }
        }
    }

    /// Numbers that say it of an example.
    pub fn given(&self) -> usize {
        match self {
            Condition::Labels { .. } => 1,
            Condition::Parameters { offset, .. } => offset.len(),
        }
    }

    /// Numbers that the networks see.
    pub fn width(&self) -> usize {
        match self {
            Condition::Labels { classes } => *classes,
            Condition::Parameters { offset, .. } => offset.len(),
        }
    }

    /// What the networks see of examples, [`given`](Condition::given) numbers each.
    ///
    /// # Errors
    /// If there are not so many, a label is none, or a number is not finite.
    pub fn encode<T: Real>(&self, values: &[f64]) -> Result<Batch<T>> {
        let each = self.given();
        if values.is_empty() || !values.len().is_multiple_of(each) {
            let message = format!("{} numbers given where the model takes {self}", values.len());
            return Err(Error::Data(message));
        }
        match self {
            Condition::Labels { classes } => {
                let mut all = Batch::zeros(values.len(), *classes);
                for (row, &label) in values.iter().enumerate() {
                    if !(label >= 0.0 && label < *classes as f64 && label.fract() == 0.0) {
                        return Err(Error::Data(format!("{label} is given where the model takes {self}")));
                    }
                    all.row_mut(row)[label as usize] = T::one();
                }
                Ok(all)
            }
            Condition::Parameters { offset, scale } => {
                finite(values, each)?;
                let scaled = values.iter().enumerate().map(|(at, x)| {
                    let i = at % each;
                    T::of((x - offset[i]) / scale[i])
                });
                Ok(Batch::new(each, scaled.collect()))
            }
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Condition::Labels { classes } => write!(f, "a label from 0 to {}", classes - 1),
            Condition::Parameters { offset, .. } => write!(f, "parameters, {} an example", offset.len()),
        }
    }
}

fn finite(values: &[f64], width: usize) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Data(format!(
            "parameter {} of example {} is {}, which is not a finite number",
            at % width,
            at / width,
            values[at]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_columns_and_parameters_are_scaled() {
        let labels = Condition::learn(ConditionKind::Labels, &[2.0, 0.0, 1.0], 1).expect("labels");
        assert_eq!((labels.given(), labels.width()), (1, 3));
        let seen: Batch<f32> = labels.encode(&[1.0, 2.0]).expect("two labels");
        assert_eq!(seen.data(), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        for wrong in [[3.0], [-1.0], [0.5], [f64::NAN]] {
            let error = labels.encode::<f32>(&wrong).expect_err("no label").to_string();
            assert!(error.contains("a label from 0 to 2"), "{error}");
        }
        let some = [1.0, 10.0, 3.0, 30.0];
        let parameters = Condition::learn(ConditionKind::Parameters, &some, 2).expect("parameters");
        let seen: Batch<f64> = parameters.encode(&some).expect("two examples");
        assert_eq!(seen.data(), [-1.0, -1.0, 1.0, 1.0]);
        assert!(parameters.encode::<f64>(&[1.0]).is_err() && parameters.encode::<f64>(&[]).is_err());
        for wrong in [[1.0, 2.0, 1.0, 3.0], [1.0, f64::NAN, 2.0, 3.0]] {
            assert!(Condition::learn(ConditionKind::Parameters, &wrong, 2).is_err());
        }
        assert!(Condition::learn(ConditionKind::Labels, &[0.0, 1.5], 1).is_err());
        assert!(Condition::learn(ConditionKind::Labels, &some, 2).is_err());
    }
}
