//! Files that are written whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What the name of a file ends with while it grows.
const PARTIAL: &str = ".partial";

/// Where a file grows before it takes its name.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Writes a file through `fill` beside its place, brings it safely to disk, and then gives it its name: whatever
/// happens, there is the old file or the new one, never half of it.
///
/// # Errors
/// If the disk refuses; nothing is left behind then.
pub fn write_whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let beside = partial(path);
    let attempt = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&beside)?);
        fill(&mut out)?;
        out.flush()?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        match file.sync_all() {
            // Devices and pipes cannot be synchronised; what they took, they took.
            Err(error) if error.kind() != std::io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        fs::rename(&beside, path)
    };
    attempt().map_err(|source| {
        fs::remove_file(&beside).ok();
        Error::Io { doing: "write", path: path.to_path_buf(), source }
    })
}

/// The file that is locked in a folder where a process is at work.
const LOCK: &str = ".lock";

/// A folder that this process holds, and no other.
#[derive(Debug)]
pub struct Hold {
    path: PathBuf,
    lock: File,
}

impl Hold {
    /// Takes hold of a folder that is there.
    ///
    /// # Errors
    /// If another process is at work in it.
    pub(crate) fn of(path: &Path) -> Result<Hold> {
        let place = path.join(LOCK);
        let lock = File::create(&place).map_err(Error::io("create", &place))?;
        match lock.try_lock() {
            // Who held it before may have removed the file in between: it must be the one that others find.
            Ok(()) if !is_at(&lock, &place) => Hold::of(path),
            Ok(()) => Ok(Hold { path: path.to_path_buf(), lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(format!(
                "another process is at work in {}; wait for it, or choose another folder",
                path.display()
            ))),
            Err(TryLockError::Error(source)) => Err(Error::Io { doing: "lock", path: place, source }),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes all that is in it, at the very end the file by which it is known.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn empty(&self, known_by: &str) -> Result<()> {
        let entries = fs::read_dir(&self.path).map_err(Error::io("read", &self.path))?;
        let mut places: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_name() != LOCK)
            .map(|entry| entry.path())
            .collect();
        places.sort_by_key(|place| place.ends_with(known_by));
        for place in places {
            let removed = if place.is_dir() { fs::remove_dir_all(&place) } else { fs::remove_file(&place) };
            removed.map_err(Error::io("remove", &place))?;
        }
        Ok(())
    }
}

/// Whether an open file is the one of this name.
#[cfg(unix)]
fn is_at(file: &File, place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(place)) {
        (Ok(open), Ok(named)) => number(open) == number(named),
        _ => false,
    }
}

/// Whether an open file is the one of this name: elsewhere open files cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In this order: who opened the file before and locks it after sees that it is gone.
        fs::remove_file(self.path.join(LOCK)).ok();
        self.lock.unlock().ok();
    }
}

/// Makes a folder for results, and takes hold of it. One that is there must be `ours`, or hold nothing but what may be `passed` over.
///
/// # Errors
/// If it holds something else than `what`, another process is at work in it, it is no folder, or cannot be made.
pub(crate) fn take_folder(path: &Path, ours: bool, what: &str, passed: &[&str]) -> Result<Hold> {
    if path.exists() && !path.is_dir() {
        return Err(Error::file(path, "is not a folder; choose another place with `--output`"));
    }
    if path.is_dir() && !ours {
        let entries = fs::read_dir(path).map_err(Error::io("read", path))?;
        let foreign = entries.filter_map(|entry| entry.ok()).find(|entry| {
            let name = entry.file_name();
            // What was killed while it wrote its first file has left a part of it.
            let begun = name.to_string_lossy().ends_with(PARTIAL);
            !begun && !passed.iter().chain(&[LOCK]).any(|passed| name == *passed)
        });
        if let Some(entry) = foreign {
            return Err(Error::Busy(format!(
                "{} is not empty (it holds `{}`) and not the folder of {what}; choose another with `--output`",
                path.display(),
                entry.file_name().to_string_lossy()
            )));
        }
    }
    fs::create_dir_all(path).map_err(Error::io("create", path))?;
    Hold::of(path)
}

/// Reads a whole file.
///
/// # Errors
/// If it is not there or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// Where a browser finds a file: `file://` and its place, with what has a meaning of its own there in hexadecimal.
pub fn link(path: &Path) -> String {
    let place = path.canonicalize().or_else(|_| std::path::absolute(path));
    let place = place.unwrap_or_else(|_| path.to_path_buf());
    let mut link = String::from("file://");
    for &byte in place.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            link += &format!("%{byte:02X}");
        }
    }
    link
}

/// SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_no_spaces() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a b#1 é.html");
        std::fs::write(&path, "").expect("writes");
        let link = link(&path);
        assert!(link.starts_with("file:///") && link.ends_with("/a%20b%231%20%C3%A9.html"), "{link}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        write_whole(&path, |out| out.write_all(b"old")).expect("writes");
        let broken = write_whole(&path, |out| {
            out.write_all(b"new, but only in p")?;
            Err(std::io::Error::other("the disk is gone"))
        });
        assert!(broken.expect_err("fails").to_string().contains("the disk is gone"));
        assert_eq!(fs::read(&path).expect("reads"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.fits");
        std::os::unix::fs::symlink("/dev/full", partial(&path)).expect("a link to a full disk");
        let error = write_whole(&path, |out| out.write_all(&[0; 100_000])).expect_err("full");
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(!path.exists());
    }
}
