//! The program at work in a folder of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// An empty folder with a file `run.toml`.
pub struct Bench(TempDir);

impl Bench {
    pub fn new(text: &str) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("run.toml"), text).expect("writes");
        Bench(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with these arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lookback"));
        command.current_dir(self.0.path()).args(arguments).env_remove("LOOKBACK_DATA");
        command
    }

    pub fn lookback(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("starts")
    }
}
