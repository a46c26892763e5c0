//! What a run keeps of every draw, appended to files that a checkpoint can cut back.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use lookback_inference::Number;

use super::Folder;
use crate::problem::Problem;
use crate::runfile::RunFile;
use crate::{Error, Result};

/// What is kept of a draw.
pub(crate) struct Record {
    /// The field.
    pub map: Vec<f32>,
    /// `ln L` of the data that count; empty if they are not wanted.
    pub log_densities: Vec<f32>,
}

/// The files of the draws, those that are wanted.
pub(crate) struct Kept {
    maps: Option<Rows>,
    log_densities: Option<Rows>,
}

impl Kept {
    /// Opens the files with `count` draws in them; what came after the checkpoint is cut off.
    pub fn open<T: Number>(
        folder: &Folder,
        run: &RunFile,
        problem: &Problem<T>,
        count: usize,
    ) -> Result<Kept> {
        let data = problem.posterior.likelihood().data_count();
        let open = |wanted: bool, name: &str, length: usize| {
            wanted.then(|| Rows::open(folder.file(name), count, length)).transpose()
        };
        Ok(Kept {
            maps: open(run.output.samples, MAPS, problem.grid.len())?,
            log_densities: open(run.output.log_likelihood, LOG_DENSITIES, data)?,
        })
    }

    /// Appends a draw.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let pairs = [(&mut self.maps, &record.map), (&mut self.log_densities, &record.log_densities)];
        pairs.into_iter().try_for_each(|(rows, row)| rows.as_mut().map_or(Ok(()), |rows| rows.append(row)))
    }

    /// Puts everything on the disk.
    pub fn sync(&mut self) -> Result<()> {
        [&self.maps, &self.log_densities].into_iter().flatten().try_for_each(Rows::sync)
    }
}

/// Name of the file of sample maps, and of that of densities of the data, while a run is under way.
pub(crate) const MAPS: &str = "samples.raw";
pub(crate) const LOG_DENSITIES: &str = "log_likelihood.raw";

/// A file of rows of numbers.
struct Rows {
    file: File,
    place: PathBuf,
}

impl Rows {
    fn open(place: PathBuf, count: usize, length: usize) -> Result<Rows> {
        let open = || -> std::io::Result<File> {
            let file = File::options().create(true).append(true).open(&place)?;
            let wanted = 4 * (count * length) as u64;
            if file.metadata()?.len() < wanted {
                let message =
                    "it holds fewer samples than the checkpoint counts; start again with `--overwrite`";
                return Err(std::io::Error::other(message));
            }
            file.set_len(wanted)?;
            Ok(file)
        };
        let file = open().map_err(Error::io("write", &place))?;
        Ok(Rows { file, place })
    }

    fn append(&mut self, row: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.file.write_all(&bytes).map_err(Error::io("write", &self.place))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write", &self.place))
    }
}

/// The numbers of a file of rows, in order.
///
/// # Errors
/// If it cannot be opened.
pub(crate) fn numbers(place: &Path) -> Result<impl Iterator<Item = f32> + use<>> {
    let mut reader = BufReader::new(File::open(place).map_err(Error::io("read", place))?);
    Ok(std::iter::from_fn(move || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).ok().map(|()| f32::from_le_bytes(bytes))
    }))
}
