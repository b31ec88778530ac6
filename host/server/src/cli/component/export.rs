//! `bulkhead component export`: writes the built-in components to files.

use crate::capabilities::DEFINITIONS;
use bulkhead_artifacts::{CRYPTO_SOFT, DECRYPT_OFFLINE};
use bulkhead_sandbox::sha256;
use clap::Args;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

#[derive(Debug, Args)]
pub(crate) struct ExportSettings {
    /// Folder to write to. It is created if it does not exist.
    #[arg(value_name = "FOLDER")]
    pub(super) folder: PathBuf,
}

/// Not all files were written.
#[derive(Debug, Error)]
pub(super) enum ExportError {
    #[error("{} is not a folder. Name another one", .0.display())]
    NotAFolder(PathBuf),
    #[error(
        "{}: a different file with this name exists. Remove it, or name another folder", .0.display()
    )]
    AnotherFile(PathBuf),
    #[error("{}: {source}. Name a folder that can be written", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Returns names and contents: the component of each capability, and those for composition and offline use.
fn files() -> impl Iterator<Item = (String, &'static [u8])> {
    let served = DEFINITIONS.iter().map(|capability| {
        let artifact = capability.artifact;
        (format!("{}.wasm", artifact.name), artifact.wasm)
    });
    served.chain([
        ("crypto-soft.wasm".to_owned(), CRYPTO_SOFT),
        ("decrypt-offline.wasm".to_owned(), DECRYPT_OFFLINE),
    ])
}

/// Writes the components to `folder`, which is created if it does not exist. Returns their list in the
/// format of `sha256sum` and `--components-pin`. Exporting again has no effect.
///
/// # Errors
/// [`ExportError`] if a file cannot be written, or a different file with its name exists. Other files may
/// have been written.
pub(super) fn export(folder: &Path) -> Result<String, ExportError> {
    fs::create_dir_all(folder).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => ExportError::NotAFolder(folder.to_owned()),
        _ => failed(folder, source),
    })?;
    let mut listed = String::new();
    for (name, content) in files() {
        write(&folder.join(&name), content)?;
        let sum = base16ct::lower::encode_string(&sha256(content));
        let _infallible = writeln!(listed, "{sum}  {name}");
    }
    Ok(listed)
}

fn failed(path: &Path, source: io::Error) -> ExportError {
    let path = path.to_owned();
    ExportError::Io { path, source }
}

fn write(path: &Path, content: &[u8]) -> Result<(), ExportError> {
    match fs::read(path) {
        Ok(existing) if existing == content => return Ok(()),
        Ok(_) => return Err(ExportError::AnotherFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, error)),
    }
    // The file gets its name when it is complete, because a server may watch the folder.
    let partial = path.with_extension("wasm.part");
    fs::write(&partial, content)
        .and_then(|()| fs::rename(partial, path))
        .map_err(|error| failed(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_file_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("folder should be created");
        let listed = export(&folder.path().join("new")).expect("components should be exported");
        assert_eq!(listed.lines().count(), files().count());
        assert_eq!(export(&folder.path().join("new")).ok(), Some(listed));
        let theirs = folder.path().join("new/token.wasm");
        fs::write(&theirs, "theirs").expect("file should be written");
        let error = export(&folder.path().join("new"))
            .expect_err("the file is a different one")
            .to_string();
        assert!(
            error.contains("token.wasm") && error.contains("Remove it"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(&theirs).expect("file should exist"),
            "theirs"
        );
    }
}
