//! The folder of a run: one run at a time, and nothing of the user's is touched.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::files::{self, Hold};
use crate::runfile::RunFile;
use crate::{Error, Result};

/// Names that a run may write; only these are ever removed.
const OURS: [&str; 23] = [
    "mean.fits",
    "std.fits",
    "snr.fits",
    "map.fits",
    "truth.fits",
    "e_mode.fits",
    "b_mode.fits",
    "config.toml",
    "checkpoint.bin",
    "samples.raw",
    "log_likelihood.raw",
    "loo.npy",
    "initial_modes.npy",
    "density.npy",
    "samples.npy",
    "samples.zarr",
    "summary.json",
    "report.html",
    "trace.csv",
    "spectrum.csv",
    "peaks.csv",
    crate::report::citations::FILE,
    "log.txt",
];

/// True if the folder has a resolved run file; another program's `config.toml` is none, and a calibration has one, too.
fn holds_run(path: &Path) -> bool {
    !path.join(crate::calibrate::STATE).exists()
        && fs::read_to_string(path.join("config.toml")).is_ok_and(|text| RunFile::parse(&text).is_ok())
}

/// A results folder that this process holds.
pub struct Folder(Hold);

impl Folder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// If it holds a run already (unless `overwrite`), holds other files, or another process is at work in it.
    pub fn create(path: &Path, overwrite: bool) -> Result<Folder> {
        let shown = path.display();
        let holds_run = holds_run(path);
        if holds_run && !overwrite {
            return Err(Error::Busy(format!(
                "{shown} holds a run already; `lookback resume {shown}` goes on with it, `--overwrite` starts again, `--output` goes elsewhere"
            )));
        }
        let folder = Folder(files::take_folder(path, holds_run, "a run", &[])?);
        folder.clear()?;
        Ok(folder)
    }

    /// Takes hold of the folder of an earlier run.
    ///
    /// # Errors
    /// If there is none, or another process is at work in it.
    pub fn open(path: &Path) -> Result<Folder> {
        if !holds_run(path) {
            return Err(Error::file(
                path,
                "is not the folder of a run: it has no `config.toml` that is a run file",
            ));
        }
        Ok(Folder(Hold::of(path)?))
    }

    /// Removes what an earlier run wrote.
    fn clear(&self) -> Result<()> {
        let entries = fs::read_dir(self.0.path()).map_err(Error::io("read", self.0.path()))?;
        for entry in entries.filter_map(|entry| entry.ok()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = name.trim_end_matches(".partial");
            let of_kind = |suffix: &str, prefixes: &[&str]| {
                name.ends_with(suffix) && prefixes.iter().any(|prefix| name.starts_with(prefix))
            };
            let map = of_kind(".fits", &["data_", "noise_", "map_"]) || of_kind(".csv", &["correlation_"]);
            let ours = map || OURS.contains(&name);
            let place = entry.path();
            if ours && place.is_dir() {
                fs::remove_dir_all(&place).map_err(Error::io("remove", &place))?;
            } else if ours {
                fs::remove_file(&place).map_err(Error::io("remove", &place))?;
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds a line to the log, with the time.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn log(&self, line: &str) -> Result<()> {
        let place = self.file("log.txt");
        let mut file =
            File::options().create(true).append(true).open(&place).map_err(Error::io("write", &place))?;
        writeln!(file, "{} {line}", timestamp(SystemTime::now())).map_err(Error::io("write", &place))
    }
}

/// Universal time as `2026-01-31T12:00:00Z` (days to date after Hinnant, "chrono-compatible date algorithms").
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_dates() {
        let at = |seconds| timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_795_478_400), "2026-11-24T00:00:00Z");
    }

    #[test]
    fn foreign_files_and_running_runs_are_left_alone() {
        let place = tempfile::tempdir().expect("a folder");
        fs::write(place.path().join("thesis.tex"), "precious").expect("writes");
        assert!(
            Folder::create(place.path(), true).err().expect("refused").to_string().contains("thesis.tex")
        );
        let nipped = place.path().join("nipped");
        fs::create_dir(&nipped).expect("makes");
        for name in [".lock", "config.toml.partial"] {
            fs::write(nipped.join(name), "").expect("writes");
        }
        drop(Folder::create(&nipped, false).expect("a run killed in the bud leaves room for another"));
        let run = place.path().join("run");
        let held = Folder::create(&run, false).expect("new");
        let config = include_str!("../../../../examples/mock_survey.toml");
        fs::write(held.file("config.toml"), config).expect("writes");
        assert!(Folder::open(&run).err().expect("refused").to_string().contains("another process"));
        drop(held);
        assert!(
            Folder::create(&run, false).err().expect("refused").to_string().contains("holds a run already")
        );
        fs::write(run.join("notes.txt"), "mine").expect("writes");
        fs::write(run.join("mine.fits"), "mine").expect("writes");
        Folder::create(&run, true).expect("overwrites");
        assert!(
            run.join("notes.txt").exists()
                && run.join("mine.fits").exists()
                && !run.join("config.toml").exists()
        );
    }
}
