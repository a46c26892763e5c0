//! What `lookback train` is given: the file of a probabilistic autoencoder, or of a prior of maps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{DeviceKind, TrainFile, TrainOutput};
use super::maps_file::MapsFile;
use crate::runfile;
use crate::{Error, Result, files};

/// A training file.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// With `[autoencoder]`: examples.
    Examples(Box<TrainFile>),
    /// With `[field]`: maps of any size.
    Maps(Box<MapsFile>),
}

impl Recipe {
    /// Reads a file; relative paths are seen from its folder.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or holds an unknown key.
    pub fn load(path: &Path) -> Result<Recipe> {
        let text = String::from_utf8(files::read(path)?)
            .map_err(|_| Error::file(path, "is not a text in UTF-8; is it a training file?"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut recipe = Recipe::parse(&text).map_err(|error| {
            let place = error.line.map_or(String::new(), |line| format!("line {line}: "));
            Error::file(path, format!("{place}{}", error.message))
        })?;
        for place in recipe.places() {
            *place = runfile::resolve(place, folder)?;
        }
        let stem = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
        recipe.output().get_or_insert_with(|| format!("models/{stem}"));
        Ok(recipe)
    }

    pub(super) fn parse(text: &str) -> Result<Recipe, runfile::ParseError> {
        let maps = toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("field"));
        if maps {
            return Ok(Recipe::Maps(Box::new(runfile::read(text)?)));
        }
        Ok(Recipe::Examples(Box::new(runfile::read(text)?)))
    }

    fn places(&mut self) -> Vec<&mut String> {
        match self {
            Recipe::Maps(file) => {
                let data = &mut file.data;
                [Some(&mut data.maps), data.spectra.as_mut()].into_iter().flatten().collect()
            }
            Recipe::Examples(file) => {
                let data = &mut file.data;
                let condition = data.condition.iter_mut().flat_map(|c| [Some(&mut c.train), c.test.as_mut()]);
                let places =
                    [Some(&mut data.train), data.noise_std.as_mut(), data.test.as_mut(), file.start.as_mut()];
                places.into_iter().chain(condition).flatten().collect()
            }
        }
    }

    /// Folder of the model, to be chosen.
    pub fn output(&mut self) -> &mut Option<String> {
        match self {
            Recipe::Examples(file) => &mut file.output.directory,
            Recipe::Maps(file) => &mut file.output.directory,
        }
    }

    /// Chooses where networks are trained.
    ///
    /// # Errors
    /// A prior of maps is trained on the processor.
    pub fn train_on(&mut self, device: DeviceKind) -> Result<()> {
        match self {
            Recipe::Examples(file) => file.device = device,
            Recipe::Maps(_) if device == DeviceKind::Cpu => {}
            Recipe::Maps(_) => {
                return Err(Error::config(
                    "device",
                    "a prior of maps is trained on the processor, in minutes",
                ));
            }
        }
        Ok(())
    }

    /// Folder of the model.
    pub fn directory(&self) -> PathBuf {
        match self {
            Recipe::Examples(file) => file.directory(),
            Recipe::Maps(file) => file.directory(),
        }
    }

    /// Time between checkpoints.
    ///
    /// # Errors
    /// If it is not a number of seconds.
    pub(super) fn checkpoint_interval(&self) -> Result<Duration> {
        let output = match self {
            Recipe::Examples(file) => &file.output,
            Recipe::Maps(file) => &file.output,
        };
        Duration::try_from_secs_f64(output.checkpoint_seconds).map_err(|error| {
            let message = format!("`checkpoint_seconds` = {}: {error}", output.checkpoint_seconds);
            Error::config("output", message)
        })
    }

    /// What decides the weights: the file without its output.
    pub(super) fn decisive_text(&self) -> Result<String> {
        let mut decisive = self.clone();
        match &mut decisive {
            Recipe::Examples(file) => file.output = TrainOutput::default(),
            Recipe::Maps(file) => file.output = TrainOutput::default(),
        }
        decisive.text()
    }

    /// The file with all defaults written out.
    pub(super) fn text(&self) -> Result<String> {
        let text = match self {
            Recipe::Examples(file) => toml::to_string(file),
            Recipe::Maps(file) => toml::to_string(file),
        };
        text.map_err(|error| Error::config("train", format!("cannot be written as TOML: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_training_files_and_survive_writing() {
        for text in [
            include_str!("../../../../examples/learn_fashion.toml"),
            include_str!("../../../../examples/learn_digits.toml"),
            include_str!("../../../../examples/learn_radio_galaxies.toml"),
            include_str!("../../../../examples/learn_convergence.toml"),
        ] {
            let recipe = Recipe::parse(text).unwrap_or_else(|error| panic!("{}", error.message));
            let again = Recipe::parse(&recipe.text().expect("writes")).expect("reads");
            assert_eq!(again, recipe);
        }
    }

    #[test]
    fn weights_to_begin_from_are_a_place_like_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        let text = "start = \"net.safetensors\"\n[data]\ntrain = \"x.npy\"\n[autoencoder]\nlatents = 2\n";
        std::fs::write(&path, text).expect("writes");
        let recipe = Recipe::load(&path).expect("reads");
        let Recipe::Examples(file) = &recipe else { panic!("an autoencoder") };
        assert!(
            file.start.as_ref().is_some_and(|start| start.ends_with("net.safetensors") && start.len() > 15)
        );
        assert!(recipe.directory().ends_with("models/a"));
        assert_eq!(Recipe::parse(&recipe.text().expect("writes")).expect("reads"), recipe);
    }
}
