//! Work that is not finished, on disk: whole, checked, and only for the build and the inputs that it belongs to.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{read as read_file, sha256, write_whole};
use crate::{Error, Result, VERSION};

/// Raised whenever a state that is kept (of a method, a recorder, a training) changes its form, or what its numbers mean: bytes alone do not tell.
const FORMAT: u32 = 6;

/// First bytes of a file.
const MAGIC: &[u8; 8] = b"lookback";
/// Bytes of a SHA-256 in hexadecimal, that of all after it.
const DIGEST: usize = 64;

/// Keeps a state in place of an older one; `fingerprint` is of all that decides the result.
///
/// # Errors
/// If the disk refuses; the older one is still there then.
pub(crate) fn write(path: &Path, fingerprint: &str, state: &impl Serialize) -> Result<()> {
    let body = postcard::to_stdvec(&(VERSION, FORMAT, fingerprint, state))
        .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
    let digest = sha256(&body);
    write_whole(path, |out: &mut dyn Write| {
        out.write_all(MAGIC)?;
        out.write_all(digest.as_bytes())?;
        out.write_all(&body)
    })
}

/// Takes a state back; `work` is what it is of, for the messages.
///
/// # Errors
/// If it cannot be read, is damaged, or was written by another version or build, or for another `fingerprint`.
pub(crate) fn read<S: DeserializeOwned>(path: &Path, fingerprint: &str, work: &str) -> Result<S> {
    let bytes = read_file(path)?;
    let refuse = |message: String| Error::file(path, message + "; start again with `--overwrite`");
    let body = whole(&bytes).ok_or_else(|| refuse("is damaged".into()))?;
    // What is whole, and is none of ours, another build of this version wrote. Who wrote it, and for what, can be read even where the rest has
    // another form.
    let another = || refuse(format!("was written by another build of version {VERSION}"));
    let (version, rest): (String, _) = postcard::take_from_bytes(body).map_err(|_| another())?;
    if version != VERSION {
        return Err(refuse(format!("was written by version {version}, this is {VERSION}")));
    }
    let (format, rest): (u32, _) = postcard::take_from_bytes(rest).map_err(|_| another())?;
    if format != FORMAT {
        return Err(another());
    }
    let (written_for, rest): (String, _) = postcard::take_from_bytes(rest).map_err(|_| another())?;
    if written_for != fingerprint {
        return Err(refuse(format!("belongs to another {work}: its file or one of the inputs has changed")));
    }
    match postcard::take_from_bytes(rest) {
        Ok((state, [])) => Ok(state),
        _ => Err(another()),
    }
}

/// What stands behind the digest, if it is that.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, body) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    (digest == sha256(body).as_bytes()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a state that was kept with this in place of the header and the state.
    fn said(body: &impl Serialize) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.bin");
        let body = postcard::to_stdvec(body).expect("serialises");
        let bytes = [MAGIC.as_slice(), sha256(&body).as_bytes(), &body].concat();
        std::fs::write(&path, bytes).expect("writes");
        read::<(u8, String)>(&path, "this", "run").expect_err("refused").to_string()
    }

    #[test]
    fn a_state_comes_back_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.bin");
        let state = (7u8, "seven".to_string());
        write(&path, "this", &state).expect("writes");
        assert_eq!(read::<(u8, String)>(&path, "this", "run").expect("reads"), state);
        let mut bytes = std::fs::read(&path).expect("reads");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes[..last]).expect("writes");
        let error = read::<(u8, String)>(&path, "this", "run").expect_err("refused").to_string();
        assert!(error.contains("is damaged"), "{error}");
    }

    #[test]
    fn other_versions_builds_and_inputs_are_told_apart() {
        let another = "another build of version";
        assert!(said(&("0.0.1", 7.5)).contains("was written by version 0.0.1"));
        assert!(said(&(VERSION, FORMAT + 1, "this", 7u8, "seven")).contains(another));
        assert!(said(&(VERSION, "this", 7u8, "seven")).contains(another), "without a format");
        assert!(said(&(VERSION, FORMAT, "that", 7u8, "seven")).contains("belongs to another run"));
        assert!(said(&(VERSION, FORMAT, "this", 7u8)).contains(another), "less than a state");
        assert!(said(&(VERSION, FORMAT, "this", 7u8, "seven", 8u8)).contains(another), "more than a state");
    }
}
