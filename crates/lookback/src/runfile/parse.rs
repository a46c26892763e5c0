//! Reading run files: unknown keys are refused with the nearest known one, paths are resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use lookback_inference::PreconditionOptions;

use super::{
    DataSection, ForwardStep, LikelihoodSection, MaskFiles, MethodSection, NoiseStd, OutputSection,
    Precision, PriorSection, ReportSection, SkySection,
};
use crate::{Error, Result, files};

/// A run: everything that decides its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFile {
    /// Heading of the report.
    #[serde(default)]
    pub title: String,
    /// Seed of all random numbers.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Floating-point type of maps and latents.
    #[serde(default)]
    pub precision: Precision,
    /// The pixels of the maps.
    pub sky: SkySection,
    /// The signal: one field, and parameters.
    pub prior: BTreeMap<String, PriorSection>,
    /// From the signal to the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward: Vec<ForwardStep>,
    /// What was observed.
    pub data: DataSection,
    /// Law of the noise.
    #[serde(default)]
    pub likelihood: LikelihoodSection,
    /// How the posterior is found.
    pub method: MethodSection,
    /// Coordinates in which Markov chains work; those of the prior if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precondition: Option<PreconditionOptions>,
    /// An approximation from which Markov chains start; random places if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start: Option<MethodSection>,
    /// Where the results go.
    #[serde(default)]
    pub output: OutputSection,
    /// What the report draws besides.
    #[serde(default)]
    pub report: ReportSection,
}

/// Reads a text; unknown keys are refused with the nearest known one, and arrays with more numbers than are taken.
pub(crate) fn read<F: DeserializeOwned + Serialize>(text: &str) -> Result<F, ParseError> {
    let file: F = toml::from_str(text).map_err(|error| explain(text, &error))?;
    let longer = || {
        let (given, taken) = (toml::from_str(text).ok()?, toml::Value::try_from(&file).ok()?);
        longer_array("", &given, &taken)
    };
    match longer() {
        None => Ok(file),
        Some(message) => Err(ParseError { line: None, message }),
    }
}

/// The first array of which less was taken than given: readers of a pair pass over a third number.
fn longer_array(place: &str, given: &toml::Value, taken: &toml::Value) -> Option<String> {
    use toml::Value::{Array, Table};
    let inside = |key: &str| if place.is_empty() { key.to_string() } else { format!("{place}.{key}") };
    match (given, taken) {
        (Table(given), Table(taken)) => {
            given.iter().find_map(|(key, value)| longer_array(&inside(key), value, taken.get(key)?))
        }
        (Array(given), Array(taken)) if given.len() > taken.len() => {
            Some(format!("`{place}` has {} values, and {} are taken", given.len(), taken.len()))
        }
        (Array(given), Array(taken)) => given
            .iter()
            .zip(taken)
            .enumerate()
            .find_map(|(i, (given, taken))| longer_array(&format!("{place}[{i}]"), given, taken)),
        _ => None,
    }
}

/// The command that a file is for which is no run file, by its sections.
fn other_command(text: &str) -> Option<&'static str> {
    let sections: toml::Table = toml::from_str(text).ok()?;
    let has = |name: &str| sections.contains_key(name);
    match () {
        () if has("prior") || has("method") => None,
        () if has("simulation") || has("light_cone") => Some("lookback simulate"),
        () if has("autoencoder") || has("field") => Some("lookback train"),
        () => None,
    }
}

/// Section of errors in the text itself.
const PARSING: &str = "run file";

fn seed() -> u64 {
    42
}

/// Where and why a run file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line, counted from one, where it is known.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl RunFile {
    /// Reads a run file and resolves its paths: `$LOOKBACK_DATA` is replaced, others are relative to the file.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, holds an unknown key, or uses a variable that is not set.
    pub fn load(path: &Path) -> Result<RunFile> {
        let text = String::from_utf8(files::read(path)?)
            .map_err(|_| Error::file(path, "is not a text in UTF-8; is it a run file?"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let stem = path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned());
        RunFile::from_text(&text, folder, &stem).map_err(|error| match error {
            Error::Config { section, message } if section == PARSING => match other_command(&text) {
                Some(command) => Error::file(path, format!("is no run file, but one for `{command}`")),
                None => Error::file(path, message),
            },
            other => other,
        })
    }

    /// The same from a text; relative paths are seen from `folder`, and the results go to `runs/NAME` unless the text
    /// says otherwise.
    ///
    /// # Errors
    /// As [`RunFile::load`].
    pub fn from_text(text: &str, folder: &Path, name: &str) -> Result<RunFile> {
        let mut run = RunFile::parse(text).map_err(|error| {
            let place = error.line.map_or(String::new(), |line| format!("line {line}: "));
            Error::config(PARSING, format!("{place}{}", error.message))
        })?;
        run.resolve(folder)?;
        run.output.directory.get_or_insert_with(|| format!("runs/{name}"));
        Ok(run)
    }

    /// Reads the text of a run file; paths stay as they are written.
    ///
    /// # Errors
    /// If it is not TOML, or does not have the form of a run file.
    pub fn parse(text: &str) -> Result<RunFile, ParseError> {
        read(text)
    }

    /// The text of this run with all defaults written out.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::config("run", format!("cannot be written as TOML: {error}")))
    }

    /// The same run with paths that hold from anywhere.
    ///
    /// # Errors
    /// If a file does not exist.
    pub fn absolute(&self) -> Result<RunFile> {
        let mut run = self.clone();
        for place in run.places() {
            let (path, column) = place.rsplit_once('#').unwrap_or((place, ""));
            let full = std::fs::canonicalize(path).map_err(Error::io("read", path))?;
            let hash = if column.is_empty() { "" } else { "#" };
            *place = format!("{}{hash}{column}", full.display());
        }
        Ok(run)
    }

    fn resolve(&mut self, folder: &Path) -> Result<()> {
        for place in self.places() {
            *place = resolve(place, folder)?;
        }
        Ok(())
    }

    /// All places of files.
    pub(crate) fn places(&mut self) -> Vec<&mut String> {
        let mut places: Vec<&mut String> = Vec::new();
        for prior in self.prior.values_mut() {
            match prior {
                PriorSection::GaussianField { spectrum } | PriorSection::LognormalField { spectrum, .. } => {
                    places.extend(&mut spectrum.table);
                }
                PriorSection::Learned { model, .. } => places.push(model),
                PriorSection::LightCone { cosmology, light_cone, .. } => {
                    places.extend(cosmology.places());
                    places.extend(light_cone.places());
                }
                _ => {}
            }
        }
        let stds = match &mut self.data {
            DataSection::Maps { maps, noise_std, mask, truth, .. } => {
                places.extend(maps);
                places.extend(mask.iter_mut().flat_map(MaskFiles::places_mut));
                places.extend(truth);
                noise_std
            }
            DataSection::Catalogue { columns, noise_std, truth, .. } => {
                places.extend([&mut columns.ra, &mut columns.dec, &mut columns.e1, &mut columns.e2]);
                places.extend(&mut columns.weight);
                places.extend(truth);
                noise_std
            }
            DataSection::Mock { truth, noise_std, mask, .. } => {
                places.extend(truth);
                places.extend(mask.iter_mut().flat_map(MaskFiles::places_mut));
                noise_std
            }
        };
        places.extend(stds.iter_mut().filter_map(|std| match std {
            NoiseStd::File(place) => Some(place),
            NoiseStd::Number(_) => None,
        }));
        places.extend(&mut self.report.groups);
        places
    }
}

/// Replaces a leading `$NAME` or `${NAME}` by its value; makes other relative paths relative to the run file.
pub(crate) fn resolve(place: &str, folder: &Path) -> Result<String> {
    let Some(rest) = place.strip_prefix('$') else {
        let path = PathBuf::from(place);
        return Ok(if path.is_absolute() {
            place.into()
        } else {
            folder.join(path).to_string_lossy().into_owned()
        });
    };
    let (name, tail) = match rest.strip_prefix('{') {
        Some(braced) => braced.split_once('}').unwrap_or((braced, "")),
        None => rest.split_at(rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())),
    };
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => {
            let value = value.trim_end_matches('/');
            Ok(format!("{value}{tail}"))
        }
        _ => Err(Error::file(
            place,
            format!(
                "the environment variable {name} is not set; it names the folder of the data (see `lookback data`)"
            ),
        )),
    }
}

/// The words of the TOML library, with the nearest known key, and the line.
fn explain(text: &str, error: &toml::de::Error) -> ParseError {
    let mut message = error.message().trim().to_string();
    let mut line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let quoted: Vec<String> = message.split('`').skip(1).step_by(2).map(str::to_string).collect();
    if let (true, [wrong, known @ ..]) = (message.starts_with("unknown"), quoted.as_slice()) {
        let best = known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(wrong, a).total_cmp(&strsim::jaro_winkler(wrong, b)));
        // What chains count has a name of its own.
        let also = |others: &[&str], name: &str| {
            known.iter().find(|known| *known == name && others.contains(&wrong.to_ascii_lowercase().as_str()))
        };
        let meant = also(&["samples"], "draws").or(also(&["h0", "h_0", "hubble"], "h"));
        let what_is_left = ["omega_l", "omega_lambda", "omega_de", "omega_v"];
        if known.iter().any(|name| name == "omega_m")
            && what_is_left.contains(&wrong.to_ascii_lowercase().as_str())
        {
            message =
                format!("{message}; dark energy is what `omega_m`, `omega_k` and radiation leave of one");
        } else if let Some(best) = meant.or(best.filter(|best| strsim::jaro_winkler(wrong, best) > 0.6)) {
            message = format!("{message}; did you mean `{best}`?");
        }
        // Inside of tagged sections the library loses the place; the key itself tells it.
        let names = |text: &&str| {
            let key = text.split('=').next().unwrap_or("").trim();
            key == wrong
                || key.trim_matches(['[', ']']).ends_with(wrong.as_str())
                || text.contains(&format!("\"{wrong}\""))
        };
        let all: Vec<usize> =
            text.lines().enumerate().filter(|(_, text)| names(text)).map(|(i, _)| i + 1).collect();
        line = match (line, all.as_slice()) {
            (Some(from), all) => all.iter().find(|at| **at >= from).copied().or(line),
            (None, [only]) => Some(*only),
            // The same key may be right elsewhere.
            (None, _) => None,
        };
    }
    ParseError { line, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[sky]
pixels = [64, 64]
pixel_arcmin = 1.0

[prior.kappa]
kind = "gaussian_field"
spectrum.power_law = { amplitude = 1e-9, pivot = 1000.0, index = -1.2 }

[[forward]]
kind = "shear"

[data]
kind = "mock"
noise_std = [0.1, 0.1]

[method]
kind = "wiener"
samples = 5
"#;

    fn complaint(from: &str, to: &str) -> ParseError {
        assert!(GOOD.contains(from), "{from}");
        RunFile::parse(&GOOD.replace(from, to)).expect_err("refused")
    }

    #[test]
    fn a_run_file_survives_writing_and_reading() {
        let run = RunFile::parse(GOOD).expect("good");
        assert_eq!(RunFile::parse(&run.to_toml().expect("writes")).expect("reads"), run);
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_one() {
        assert!(complaint("[64, 64]", "[64, 64, 4]").message.contains("`sky.pixels` has 3 values, and 2"));
        let error = complaint("pixel_arcmin", "pixel_arcmim");
        assert!(error.message.contains("did you mean `pixel_arcmin`?"), "{error:?}");
        assert_eq!(error.line, Some(4));
        let error = complaint("samples", "smaples");
        assert!(error.message.contains("did you mean `samples`?"), "{error:?}");
        assert_eq!(error.line, Some(19));
        let error = complaint("noise_std", "noise_sdt");
        assert!(error.message.contains("did you mean `noise_std`?"), "{error:?}");
        let error = complaint("\"wiener\"", "\"weiner\"");
        assert!(error.message.contains("did you mean `wiener`?"), "{error:?}");
        let error = complaint("[sky]", "[skies]");
        assert!(error.message.contains("did you mean `sky`?"), "{error:?}");
        let error = complaint("index =", "indx =");
        assert!(error.message.contains("did you mean `index`?"), "{error:?}");
    }

    #[test]
    fn wrong_types_and_broken_text_have_a_line() {
        assert_eq!(complaint("pixel_arcmin = 1.0", "pixel_arcmin = \"one\"").line, Some(4));
        assert_eq!(complaint("[64, 64]", "[64, 64").line.map(|line| line >= 3), Some(true));
    }

    #[test]
    fn paths_are_resolved() {
        assert_eq!(resolve("a/b.fits", Path::new("runs")).expect("fine"), "runs/a/b.fits");
        let error = resolve("$LOOKBACK_NO_SUCH_VARIABLE/x", Path::new(".")).expect_err("not set").to_string();
        assert!(error.contains("LOOKBACK_NO_SUCH_VARIABLE is not set"), "{error}");
        let home = std::env::var("HOME").expect("tests have a home");
        assert_eq!(
            resolve("${HOME}/x", Path::new(".")).expect("set"),
            format!("{}/x", home.trim_end_matches('/'))
        );
    }
}
