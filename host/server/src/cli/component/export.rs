//! `bulkhead component export`: the components of the binary as files.

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
    /// Made where it is missing.
    #[arg(value_name = "FOLDER")]
    pub(super) folder: PathBuf,
}

/// Why not all files were written.
#[derive(Debug, Error)]
pub(super) enum ExportError {
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error(
        "{}: another file of that name is there; remove it, or name another folder", .0.display()
    )]
    AnotherFile(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Names and content: the component of each capability, and what is composed of them.
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

/// Writes them to `folder`, which is made where it is missing, and lists them as `sha256sum` does (the list
/// is good for `--components-pin`). A file that is something else is left alone and makes an error.
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
        Ok(there) if there == content => return Ok(()),
        Ok(_) => return Err(ExportError::AnotherFile(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(path, error)),
    }
    // Under its name only when it is whole: the folder may be one that a server watches.
    let aside = path.with_extension("wasm.part");
    fs::write(&aside, content)
        .and_then(|()| fs::rename(aside, path))
        .map_err(|error| failed(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let listed = export(&folder.path().join("new")).expect("written");
        assert_eq!(listed.lines().count(), files().count());
        assert_eq!(export(&folder.path().join("new")).ok(), Some(listed));
        let theirs = folder.path().join("new/token.wasm");
        fs::write(&theirs, "theirs").expect("written");
        let error = export(&folder.path().join("new"))
            .expect_err("it is another one")
            .to_string();
        assert!(
            error.contains("token.wasm") && error.contains("remove it"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");
    }
}
