//! The inputs that are checked in: `corpus/TARGET/`, one file each.

use std::io;
use std::path::{Path, PathBuf};

use crate::random::Random;

/// Folder of the inputs of a target.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs in a folder, by name.
///
/// # Errors
/// When it can't be read.
pub fn read(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.sort();
    files.into_iter().map(std::fs::read).collect()
}

/// Writes an input under a name made from its content, and says where.
///
/// # Errors
/// When it can't be written.
pub fn write(folder: &Path, input: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(format!("{:016x}", Random::of(input).draw()));
    std::fs::write(&file, input)?;
    Ok(file)
}
