//! Snapshots as FastPM and MP-Gadget write them (`bigfile`): a folder of blocks, read by nbodykit and by the package `bigfile`.

use std::path::Path;

use crate::{Error, Result, files};

/// A value beside a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Integers(Vec<i64>),
}

/// Writes a block: rows of `members` numbers, in one file beside a header with its checksum.
///
/// # Errors
/// If the disk refuses.
pub fn write_block(folder: &Path, members: usize, values: impl Iterator<Item = f32>) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let (mut count, mut sum) = (0usize, 0u32);
    files::write_whole(&folder.join("000000"), |out| {
        for value in values {
            let bytes = value.to_le_bytes();
            count += 1;
            sum = bytes.iter().fold(sum, |sum, &byte| sum.wrapping_add(u32::from(byte)));
            out.write_all(&bytes)?;
        }
        Ok(())
    })?;
    // The checksum of System V: the sum of all bytes, folded to sixteen bits.
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let rows = count / members;
    let header = format!("DTYPE: <f4\nNMEMB: {members}\nNFILE: 1\n000000: {rows} : {sum} : {folded}\n");
    files::write_whole(&folder.join("header"), |out| out.write_all(header.as_bytes()))
}

/// Writes a block that holds nothing but attributes.
///
/// # Errors
/// If the disk refuses.
pub fn write_attributes(folder: &Path, attributes: &[(&str, Attribute)]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let line = |(name, attribute): &(&str, Attribute)| {
        let (kind, data, words): (_, Vec<String>, Vec<String>) = match attribute {
            Attribute::Numbers(all) => (
                "<f8",
                all.iter().map(|x| hexadecimal(&x.to_le_bytes())).collect(),
                all.iter().map(f64::to_string).collect(),
            ),
            Attribute::Integers(all) => (
                "<i8",
                all.iter().map(|x| hexadecimal(&x.to_le_bytes())).collect(),
                all.iter().map(i64::to_string).collect(),
            ),
        };
        format!("{name} {kind} {} {} #HUMANE [ {} ]\n", data.len(), data.concat(), words.join(" "))
    };
    let text: String = attributes.iter().map(line).collect();
    files::write_whole(&folder.join("attr-v2"), |out| out.write_all(text.as_bytes()))?;
    files::write_whole(&folder.join("header"), |out| out.write_all(b"DTYPE: <i8\nNMEMB: 0\nNFILE: 0\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the package `bigfile` 0.1.52 writes for the same numbers.
    #[test]
    fn files_are_those_of_the_package() {
        let folder = tempfile::tempdir().expect("a folder");
        let block = folder.path().join("1/Position");
        write_block(&block, 3, (0..15).map(|i| i as f32)).expect("writes");
        let read = |path: &Path| std::fs::read_to_string(path).expect("reads");
        assert_eq!(read(&block.join("header")), "DTYPE: <f4\nNMEMB: 3\nNFILE: 1\n000000: 5 : 2134 : 2134\n");
        assert_eq!(std::fs::read(block.join("000000")).expect("reads")[4..8], 1f32.to_le_bytes());
        let attributes = [("n", Attribute::Integers(vec![3])), ("x", Attribute::Numbers(vec![1.5, 2.0]))];
        write_attributes(&folder.path().join("Header"), &attributes).expect("writes");
        assert_eq!(
            read(&folder.path().join("Header/attr-v2")),
            "n <i8 1 0300000000000000 #HUMANE [ 3 ]\nx <f8 2 000000000000F83F0000000000000040 #HUMANE [ 1.5 2 ]\n"
        );
    }
}
