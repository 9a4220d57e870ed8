//! The files that commands are given, and write.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::problem::{Outage, Part};

/// The bytes of a file, or of standard input for `-`.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Outage> {
    read_up_to(path, u64::MAX)
}

/// The bytes of a file, or of standard input for `-`, and not more than so many.
pub fn read_up_to(path: &Path, most: u64) -> Result<Vec<u8>, Outage> {
    let read = || {
        let mut bytes = Vec::new();
        match path == Path::new("-") {
            true => io::stdin().take(most).read_to_end(&mut bytes)?,
            false => File::open(path)?.take(most).read_to_end(&mut bytes)?,
        };
        Ok(bytes)
    };
    read().map_err(|error| outage("read", path, error))
}

/// Makes a folder and those above it, unless they are there.
pub fn make_folder(path: &Path) -> Result<(), Outage> {
    fs::create_dir_all(path).map_err(|error| outage("make the folder", path, error))
}

/// Writes a file whole or not at all: beside its place, then renamed into it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Outage> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        // A temporary file is its owner's only; a document is for those who may read the folder.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| outage("write", path, error))
}

fn outage(what: &str, path: &Path, error: io::Error) -> Outage {
    Outage::because(
        Part::Disk,
        format!("cannot {what} {}", path.display()),
        error,
    )
}
