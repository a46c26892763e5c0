//! How moves of the latent and what the gradient does to the velocity are joined to a step.

use serde::{Deserialize, Serialize};

/// Splitting of a step, for [`Mclmc`](crate::Mclmc), [`Nuts`](crate::Nuts), [`Hmc`](crate::Hmc) and their kin: kicks (momenta fall with the
/// gradient, directions turn) and moves. All are symmetric, so that samplers which accept or refuse stay exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrator {
    /// Half a kick, a move, half a kick: one gradient a step.
    Leapfrog,
    /// Two moves between three kicks (McLachlan 1995): two gradients a step, which may be more than twice as long.
    MinimalNorm,
    /// The same with shares that make the largest error of the energy of a Gaussian small for all steps up to twice its width (Blanes, Casas &
    /// Sanz-Serna 2014, SIAM J. Sci. Comput. 36, A1556).
    TwoStage,
}

/// All integrators, with the names that they have in files.
pub const INTEGRATORS: [(&str, Integrator); 3] = [
    ("leapfrog", Integrator::Leapfrog),
    ("minimal_norm", Integrator::MinimalNorm),
    ("two_stage", Integrator::TwoStage),
];

/// Shares of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    /// Of the first and the last kick.
    pub outer: f64,
    /// Of the kick between two moves.
    pub middle: f64,
    /// Equal moves, each with a gradient after it.
    pub moves: usize,
}

impl Integrator {
    /// What a step is made of.
    pub(crate) fn shares(self) -> Shares {
        match self {
            Integrator::Leapfrog => Shares { outer: 0.5, middle: 0.0, moves: 1 },
            Integrator::MinimalNorm => Shares::two(0.193_183_327_503_783_6),
            Integrator::TwoStage => Shares::two(0.211_781),
        }
    }
}

impl Shares {
    /// Those of two moves.
    const fn two(outer: f64) -> Shares {
        Shares { outer, middle: 1.0 - 2.0 * outer, moves: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step of an oscillator of frequency one, as a matrix, its columns one after the other.
    fn step(Shares { outer, middle, moves }: Shares, h: f64) -> [[f64; 2]; 2] {
        [[1.0, 0.0], [0.0, 1.0]].map(|[mut x, mut p]| {
            p -= outer * h * x;
            for done in 1..=moves {
                x += h / moves as f64 * p;
                p -= if done == moves { outer } else { middle } * h * x;
            }
            [x, p]
        })
    }

    /// Largest mean error of the energy that a trajectory of any number of steps makes of an oscillator in equilibrium (Blanes et al. 2014,
    /// proposition 4.3), for all steps up to two.
    fn largest_error(outer: f64) -> f64 {
        let each = (1..=100).map(|i| {
            let [[_, c], [b, a]] = step(Shares::two(outer), 0.02 * f64::from(i));
            (b + c).powi(2) / (2.0 * (1.0 - a * a))
        });
        each.fold(0.0, f64::max)
    }

    #[test]
    fn steps_keep_volumes_and_go_back() {
        for (name, integrator) in INTEGRATORS {
            let [[a, c], [b, d]] = step(integrator.shares(), 0.7);
            assert!((a * d - b * c - 1.0).abs() < 1e-14, "{name}: volumes");
            let [[a1, c1], [b1, d1]] = step(integrator.shares(), -0.7);
            let back = [a * a1 + b * c1, a * b1 + b * d1, c * a1 + d * c1, c * b1 + d * d1];
            let off = back.iter().zip([1.0, 0.0, 0.0, 1.0]).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(off < 1e-14, "{name}: {off}");
        }
    }

    #[test]
    fn two_stages_err_least_on_gaussians() {
        let best = Integrator::TwoStage.shares().outer;
        let [below, least, above] = [-0.001, 0.0, 0.001].map(|more| largest_error(best + more));
        let minimal = largest_error(Integrator::MinimalNorm.shares().outer);
        println!(
            "largest error {least:.2e}, beside it {below:.2e} and {above:.2e}, minimal norm {minimal:.2e}"
        );
        assert!(least < below && least < above && least < 0.03 * minimal);
    }
}
