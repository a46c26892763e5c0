//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Where a file grows before it takes its name.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".partial");
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

/// Reads a whole file.
///
/// # Errors
/// If it is not there or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// First bytes of a sealed file.
const MAGIC: &[u8; 8] = b"lookback";
/// Bytes of a SHA-256 in hexadecimal.
const DIGEST: usize = 64;

/// Writes a state of Lookback's own with its digest, whole or not at all.
///
/// # Errors
/// If the disk refuses.
pub(crate) fn write_sealed(path: &Path, body: &[u8]) -> Result<()> {
    let digest = sha256(body);
    write_whole(path, |out| {
        out.write_all(MAGIC)?;
        out.write_all(digest.as_bytes())?;
        out.write_all(body)
    })
}

/// Reads such a state.
///
/// # Errors
/// If it is not there, or not what was written.
pub(crate) fn read_sealed(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = read(path)?;
    let start = MAGIC.len() + DIGEST;
    let body = bytes.get(start..).ok_or_else(|| damaged(path))?;
    if !bytes.starts_with(MAGIC) || bytes[MAGIC.len()..start] != *sha256(body).as_bytes() {
        return Err(damaged(path));
    }
    bytes.drain(..start);
    Ok(bytes)
}

/// What to say of a state that cannot be read.
pub(crate) fn damaged(path: &Path) -> Error {
    Error::file(path, "is damaged; start again with `--overwrite`")
}

#[cfg(test)]
mod tests {
    use super::*;

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
