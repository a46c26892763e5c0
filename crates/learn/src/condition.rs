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
        /// Taken away first: the means of the examples, those that judge the training included.
        offset: Vec<f64>,
        /// Divided by then: their standard deviations.
        scale: Vec<f64>,
    },
}

/// Most classes: each is a column of every network of a flow.
const MOST_CLASSES: usize = 1000;

/// Least spread of a parameter, in units of its size: rounding alone makes less.
const LEAST_SPREAD: f64 = 1e-9;

impl Condition {
    /// What the numbers of the training examples (`width` each) say.
    ///
    /// # Errors
    /// If labels are no whole numbers from 0 on, or a parameter is not finite or the same for all examples.
    pub fn learn(kind: ConditionKind, values: &[f64], width: usize) -> Result<Condition> {
        match kind {
            ConditionKind::Labels if width == 1 => {
                let label = |x: f64| (0.0..MOST_CLASSES as f64).contains(&x) && x.fract() == 0.0;
                if let Some(at) = values.iter().position(|&x| !label(x)) {
                    let message = format!(
                        "label {at} is {}: classes are counted 0, 1, ... up to {}",
                        values[at],
                        MOST_CLASSES - 1
                    );
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
                let size = |i: usize| column(i).fold(0.0f64, |most, x| most.max(x.abs()));
                match (0..width).find(|&i| !(scale[i] > LEAST_SPREAD * size(i))) {
                    None => Ok(Condition::Parameters { offset, scale }),
                    Some(i) => Err(Error::Data(format!("parameter {i} is {} everywhere", offset[i]))),
                }
            }
        }
    }

    /// Refuses what no training has written.
    ///
    /// # Errors
    /// If there is no class, or offsets and scales do not belong together or are not finite.
    pub fn check(&self) -> Result<()> {
        let good = match self {
            Condition::Labels { classes } => (1..=MOST_CLASSES).contains(classes),
            Condition::Parameters { offset, scale } => {
                let finite =
                    offset.iter().zip(scale).all(|(o, s)| o.is_finite() && s.is_finite() && *s > 0.0);
                finite && !offset.is_empty() && offset.len() == scale.len()
            }
        };
        if good { Ok(()) } else { Err(Error::Data(format!("no flow can depend on {self:?}"))) }
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

    /// What the networks see of examples: an array with [`given`](Condition::given) numbers of one example, or with a row of them for each.
    ///
    /// # Errors
    /// If the array has another shape, a label is none, or a number is not finite.
    pub fn encode<T: Real>(&self, shape: &[usize], values: &[f64]) -> Result<Batch<T>> {
        let each = self.given();
        let fits = match *shape {
            [numbers] => each == 1 || numbers == each,
            [_, numbers] => numbers == each,
            _ => false,
        };
        if !fits || values.is_empty() || shape.iter().product::<usize>() != values.len() {
            return Err(Error::Data(format!("an array of {shape:?} is given where the model takes {self}")));
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
        let seen: Batch<f32> = labels.encode(&[2], &[1.0, 2.0]).expect("two labels");
        assert_eq!(seen.data(), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        for wrong in [[3.0], [-1.0], [0.5], [f64::NAN]] {
            let error = labels.encode::<f32>(&[1], &wrong).expect_err("no label").to_string();
            assert!(error.contains("a label from 0 to 2"), "{error}");
        }
        let some = [1.0, 10.0, 3.0, 30.0];
        let parameters = Condition::learn(ConditionKind::Parameters, &some, 2).expect("parameters");
        let seen: Batch<f64> = parameters.encode(&[2, 2], &some).expect("two examples");
        assert_eq!(seen.data(), [-1.0, -1.0, 1.0, 1.0]);
        for shape in [&[1][..], &[4], &[1, 4], &[2, 2, 1], &[]] {
            assert!(parameters.encode::<f64>(shape, &some[..shape.iter().product()]).is_err(), "{shape:?}");
        }
        for wrong in [[0.1, 2.0, 0.1, 3.0], [1.0, f64::NAN, 2.0, 3.0]] {
            assert!(Condition::learn(ConditionKind::Parameters, &wrong, 2).is_err());
        }
        // The mean of many equal numbers is rounded.
        assert!(Condition::learn(ConditionKind::Parameters, &[0.1; 1000], 1).is_err());
        for damaged in [
            Condition::Labels { classes: 0 },
            Condition::Parameters { offset: vec![1.0, 2.0], scale: vec![1.0] },
            Condition::Parameters { offset: vec![1.0], scale: vec![0.0] },
        ] {
            assert!(damaged.check().is_err(), "{damaged:?}");
        }
        assert!(Condition::learn(ConditionKind::Labels, &[0.0, 1.5], 1).is_err());
        assert!(Condition::learn(ConditionKind::Labels, &some, 2).is_err());
    }
}
