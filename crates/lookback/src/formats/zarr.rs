//! Samples as a Zarr store (format 2) with the groups and dimension names of ArviZ's `InferenceData`, which xarray,
//! ArviZ and zarr open.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Error, Result, files};

/// A store that is being written, a folder of small files.
pub struct Store {
    root: PathBuf,
    metadata: serde_json::Map<String, Value>,
}

impl Store {
    /// Starts a new store; one that is already there is replaced.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn create(root: &Path, attributes: Value) -> Result<Store> {
        if root.exists() {
            fs::remove_dir_all(root).map_err(Error::io("replace", root))?;
        }
        let mut store = Store { root: root.to_path_buf(), metadata: serde_json::Map::new() };
        store.group("", attributes)?;
        Ok(store)
    }

    fn document(&mut self, key: String, value: Value) -> Result<()> {
        let path = self.root.join(&key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        files::write_whole(&path, |out| {
            serde_json::to_writer_pretty(out, &value).map_err(std::io::Error::from)
        })?;
        self.metadata.insert(key, value);
        Ok(())
    }

    /// Adds a group; the root has the empty name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn group(&mut self, name: &str, attributes: Value) -> Result<()> {
        let key = |file: &str| if name.is_empty() { file.to_string() } else { format!("{name}/{file}") };
        self.document(key(".zgroup"), json!({ "zarr_format": 2 }))?;
        self.document(key(".zattrs"), attributes)
    }

    /// Announces an array `group/name` with named dimensions; chunks follow by [`chunk`](Store::chunk).
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn array(
        &mut self,
        name: &str,
        dtype: &str,
        dimensions: &[&str],
        shape: &[usize],
        chunks: &[usize],
    ) -> Result<()> {
        // What is filled is masked by readers: a zero among integers, or a no, would be taken for missing.
        let fill = if dtype.contains('f') { json!("NaN") } else { Value::Null };
        self.document(
            format!("{name}/.zarray"),
            json!({
                "zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": dtype, "order": "C",
                "compressor": null, "filters": null, "fill_value": fill,
            }),
        )?;
        self.document(format!("{name}/.zattrs"), json!({ "_ARRAY_DIMENSIONS": dimensions }))
    }

    /// Writes the chunk at `index` of an array from its bytes, little-endian.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn chunk(&self, name: &str, index: &[usize], bytes: &[u8]) -> Result<()> {
        let index: Vec<String> = index.iter().map(usize::to_string).collect();
        let path = self.root.join(name).join(index.join("."));
        fs::write(&path, bytes).map_err(Error::io("write", &path))
    }

    /// A whole `f64` array as one chunk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn floats(&mut self, name: &str, dimensions: &[&str], shape: &[usize], values: &[f64]) -> Result<()> {
        self.array(name, "<f8", dimensions, shape, shape)?;
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.chunk(name, &vec![0; shape.len()], &bytes)
    }

    /// An array of yes and no in one chunk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn flags(&mut self, name: &str, dimensions: &[&str], shape: &[usize], values: &[bool]) -> Result<()> {
        self.array(name, "|b1", dimensions, shape, shape)?;
        let bytes: Vec<u8> = values.iter().map(|flag| u8::from(*flag)).collect();
        self.chunk(name, &vec![0; shape.len()], &bytes)
    }

    /// A coordinate `0, 1, 2, ...`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn index(&mut self, name: &str, dimension: &str, count: usize) -> Result<()> {
        self.array(name, "<i8", &[dimension], &[count], &[count])?;
        let bytes: Vec<u8> = (0..count as i64).flat_map(i64::to_le_bytes).collect();
        self.chunk(name, &[0], &bytes)
    }

    /// Closes the store with its consolidated metadata.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(mut self) -> Result<()> {
        let metadata = Value::Object(std::mem::take(&mut self.metadata));
        self.document(".zmetadata".into(), json!({ "zarr_consolidated_format": 1, "metadata": metadata }))
    }
}
