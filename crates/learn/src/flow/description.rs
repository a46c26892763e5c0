//! Flows as they are described in files.

use lookback_operator::Real;
use serde::{Deserialize, Serialize};

use super::{
    ActNorm, Autoregressive, Bijection, Continuous, Coupling, Flow, Inverted, LowerUpper, Sliced, Warp,
};
use crate::layers::Function;
use crate::{Error, Result};

/// One step of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BijectionSection {
    /// Scale and shift.
    ActNorm,
    /// A matrix.
    Linear {
        /// The numbers are turned about first.
        #[serde(default)]
        reversed: bool,
    },
    /// One half says how the other is warped.
    Coupling {
        /// What is done to the numbers.
        warp: Warp,
        /// The first half is warped, not the second.
        #[serde(default)]
        flipped: bool,
        /// Width of the network.
        #[serde(default = "hidden")]
        hidden: usize,
        /// Its residual blocks.
        #[serde(default = "blocks")]
        blocks: usize,
    },
    /// Each number is warped as those before it say.
    Autoregressive {
        /// What is done to the numbers.
        warp: Warp,
        /// The numbers are taken from the last to the first.
        #[serde(default)]
        reversed: bool,
        /// Widths of the hidden layers.
        hidden: Vec<usize>,
    },
    /// Along a velocity field.
    Continuous {
        /// Width of its network.
        hidden: usize,
        /// Steps of the integration.
        steps: usize,
    },
    /// A step of a sliced flow.
    Sliced {
        /// Directions that are warped.
        axes: usize,
        /// Knots of their splines.
        knots: usize,
        /// It was fitted from normal numbers towards the data, and is taken backwards.
        #[serde(default)]
        inverted: bool,
    },
}

fn hidden() -> usize {
    128
}

fn blocks() -> usize {
    1
}

/// A whole flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSection {
    /// Numbers that are mapped.
    pub dimensions: usize,
    /// Numbers that they depend on.
    #[serde(default)]
    pub context: usize,
    /// Function of the networks within.
    #[serde(default = "function")]
    pub function: Function,
    /// The steps from data to normal numbers.
    pub steps: Vec<BijectionSection>,
}

fn function() -> Function {
    Function::Silu
}

impl FlowSection {
    /// The flow.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn build<T: Real>(&self) -> Result<Flow<T>> {
        if self.dimensions == 0 {
            return Err(Error::Flow("a flow needs at least one dimension".into()));
        }
        let steps = self.steps.iter().map(|step| self.step(step)).collect::<Result<_>>()?;
        Ok(Flow::new(self.dimensions, self.context, steps))
    }

    fn step<T: Real>(&self, step: &BijectionSection) -> Result<Box<dyn Bijection<T>>> {
        let (n, sizes) = (self.dimensions, (self.dimensions, self.context));
        Ok(match *step {
            BijectionSection::ActNorm => Box::new(ActNorm::new(n)),
            BijectionSection::Linear { reversed } => Box::new(LowerUpper::new(n, reversed)),
            BijectionSection::Coupling { warp, flipped, hidden, blocks } => {
                warp.check()?;
                positive("hidden", hidden)?;
                if n < 2 {
                    return Err(Error::Flow("one dimension has no halves to couple".into()));
                }
                Box::new(Coupling::new(sizes, flipped, warp, (hidden, blocks), self.function))
            }
            BijectionSection::Autoregressive { warp, reversed, ref hidden } => {
                warp.check()?;
                hidden.iter().try_for_each(|&size| positive("hidden", size))?;
                Box::new(Autoregressive::new(sizes, reversed, warp, hidden, self.function))
            }
            BijectionSection::Continuous { hidden, steps } => {
                positive("hidden", hidden)?;
                positive("steps", steps)?;
                Box::new(Continuous::new(sizes, hidden, steps))
            }
            BijectionSection::Sliced { axes, knots, inverted } => {
                if !(1..=n).contains(&axes) {
                    return Err(Error::option("axes", format!("must be from 1 to {n}, not {axes}")));
                }
                if knots < 3 {
                    return Err(Error::option("knots", format!("must be at least 3, not {knots}")));
                }
                let step = Sliced::new(n, axes, knots);
                if inverted { Box::new(Inverted(step)) } else { Box::new(step) }
            }
        })
    }
}

fn positive(name: &'static str, value: usize) -> Result<()> {
    if value > 0 { Ok(()) } else { Err(Error::option(name, "must be at least 1")) }
}

/// Flows with a name. `layers` counts pairs of a matrix and a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedFlow {
    /// Affine couplings, halves alternating (Dinh et al. 2017).
    RealNvp,
    /// Scale and shift, a matrix, an affine coupling (Kingma & Dhariwal 2018).
    Glow,
    /// A matrix and a spline coupling (Durkan et al. 2019): smooth, and one pass in both directions.
    SplineCoupling,
    /// Affine autoregressive steps, the order alternating (Papamakarios et al. 2017).
    MaskedAutoregressive,
    /// Spline autoregressive steps with a matrix between.
    SplineAutoregressive,
    /// Along a velocity field, trained by regression (Lipman et al. 2023); `layers` counts steps of the integration.
    FlowMatching,
}

impl PublishedFlow {
    /// The steps, for so many dimensions and so much context. One dimension has no halves to couple: there, couplings are autoregressive steps.
    pub fn section(self, (dimensions, context): (usize, usize), layers: usize, hidden: usize) -> FlowSection {
        let mut steps = vec![BijectionSection::ActNorm];
        for layer in 0..layers {
            let odd = layer % 2 == 1;
            let autoregressive =
                |warp| BijectionSection::Autoregressive { warp, reversed: odd, hidden: vec![hidden; 2] };
            let coupling = |warp| match dimensions {
                1 => autoregressive(warp),
                _ => BijectionSection::Coupling { warp, flipped: odd, hidden, blocks: 1 },
            };
            let linear = BijectionSection::Linear { reversed: odd };
            match self {
                PublishedFlow::RealNvp => steps.push(coupling(Warp::Affine)),
                PublishedFlow::Glow => {
                    steps.extend([BijectionSection::ActNorm, linear, coupling(Warp::Affine)]);
                }
                PublishedFlow::SplineCoupling => steps.extend([linear, coupling(Warp::spline())]),
                PublishedFlow::MaskedAutoregressive => steps.push(autoregressive(Warp::Affine)),
                PublishedFlow::SplineAutoregressive => steps.extend([linear, autoregressive(Warp::spline())]),
                PublishedFlow::FlowMatching => {
                    steps.push(BijectionSection::Continuous { hidden, steps: layers });
                    break;
                }
            }
        }
        if !matches!(self, PublishedFlow::MaskedAutoregressive | PublishedFlow::FlowMatching) {
            steps.push(BijectionSection::Linear { reversed: false });
        }
        FlowSection { dimensions, context, function: function(), steps }
    }
}
