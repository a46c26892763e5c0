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

    /// Runs the program, which must end well.
    #[allow(dead_code, reason = "not every test file needs it")]
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.lookback(arguments);
        let words =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {words}");
        words
    }

    /// Runs the program, which must refuse.
    #[allow(dead_code, reason = "not every test file needs it")]
    pub fn bad(&self, arguments: &[&str]) -> String {
        let output = self.lookback(arguments);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
        assert!(!words.contains("panicked"), "{words}");
        words
    }

    /// What the program says where another process, which is this one, is at work in the folder.
    #[allow(dead_code, reason = "not every test file needs it")]
    pub fn beside_another(&self, folder: &str, arguments: &[&str]) -> String {
        fs::create_dir_all(self.path(folder)).expect("a folder");
        let lock = fs::File::create(self.path(folder).join(".lock")).expect("a file");
        lock.lock().expect("locks");
        self.bad(arguments)
    }
}
