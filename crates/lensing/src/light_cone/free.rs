//! Numbers of what is seen that may be free, beside the parameters of the universe: alignment and bias.

use lookback_cosmology::Tracer;
use lookback_nbody::{Error, Result};

/// A number of the maps. Their weights depend linearly on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FreeNumber {
    /// `a_ia`: the amplitude of the alignment of all sources that are aligned.
    Alignment,
    /// `b1_N`: linear bias of one map, by its place among all.
    LinearBias(usize),
    /// `b2_N`: quadratic bias.
    QuadraticBias(usize),
}

fn amplitude(tracer: &Tracer) -> Option<f64> {
    match tracer {
        Tracer::Convergence { alignment, .. } => alignment.map(|alignment| alignment.amplitude),
        _ => None,
    }
}

/// All numbers that maps have, by name; galaxies are counted from one, and need no number if they are alone.
fn known(maps: &[Tracer]) -> Vec<(String, FreeNumber)> {
    let mut all = Vec::new();
    if maps.iter().any(|tracer| amplitude(tracer).is_some()) {
        all.push(("a_ia".to_string(), FreeNumber::Alignment));
    }
    let galaxies: Vec<usize> =
        (0..maps.len()).filter(|&map| matches!(maps[map], Tracer::Galaxies { .. })).collect();
    for (number, &map) in galaxies.iter().enumerate() {
        let suffix = if galaxies.len() == 1 { String::new() } else { format!("_{}", number + 1) };
        all.push((format!("b1{suffix}"), FreeNumber::LinearBias(map)));
        all.push((format!("b2{suffix}"), FreeNumber::QuadraticBias(map)));
    }
    all
}

/// Names of the numbers of maps that may be free: `a_ia`, and `b1`, `b2` of galaxies (`b1_1`, `b1_2`, ... of several).
pub fn free_numbers(maps: &[Tracer]) -> Vec<String> {
    known(maps).into_iter().map(|(name, _)| name).collect()
}

impl FreeNumber {
    /// The numbers of these names.
    ///
    /// # Errors
    /// If one is not known, or given twice, or sources that share an alignment were given different ones.
    pub(super) fn named(names: &[String], maps: &[Tracer]) -> Result<Vec<FreeNumber>> {
        let known = known(maps);
        let mut all = Vec::new();
        for name in names {
            let Some((_, number)) = known.iter().find(|(known, _)| known == name) else {
                let there: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                let there = if there.is_empty() { "none".into() } else { there.join(", ") };
                return Err(Error::Setting(format!("maps have no number `{name}`; there are {there}")));
            };
            if all.contains(number) {
                return Err(Error::Setting(format!("the number `{name}` is free twice")));
            }
            all.push(*number);
        }
        if all.contains(&FreeNumber::Alignment) {
            let mut amplitudes = maps.iter().filter_map(amplitude);
            let first = amplitudes.next();
            if amplitudes.any(|amplitude| Some(amplitude) != first) {
                let message =
                    "`a_ia` is one number for all sources: give their alignments the same amplitude";
                return Err(Error::Setting(message.into()));
            }
        }
        Ok(all)
    }

    /// Where a map has it.
    fn place(self, tracer: &mut Tracer) -> Option<&mut f64> {
        match (self, tracer) {
            (FreeNumber::Alignment, Tracer::Convergence { alignment, .. }) => {
                alignment.as_mut().map(|alignment| &mut alignment.amplitude)
            }
            (FreeNumber::LinearBias(_), Tracer::Galaxies { bias, .. }) => Some(&mut bias.b1),
            (FreeNumber::QuadraticBias(_), Tracer::Galaxies { bias, .. }) => Some(&mut bias.b2),
            _ => None,
        }
    }

    /// The number as the maps have it.
    pub(super) fn value(self, maps: &[Tracer]) -> f64 {
        let of = |map: usize| self.place(&mut maps[map].clone()).copied();
        self.maps(maps).into_iter().find_map(of).unwrap_or(0.0)
    }

    /// The maps that have it.
    pub(super) fn maps(self, maps: &[Tracer]) -> Vec<usize> {
        match self {
            FreeNumber::Alignment => (0..maps.len()).filter(|&map| amplitude(&maps[map]).is_some()).collect(),
            FreeNumber::LinearBias(map) | FreeNumber::QuadraticBias(map) => vec![map],
        }
    }

    /// Gives the maps another value.
    pub(super) fn set(self, maps: &mut [Tracer], value: f64) {
        for map in self.maps(maps) {
            if let Some(number) = self.place(&mut maps[map]) {
                *number = value;
            }
        }
    }
}
