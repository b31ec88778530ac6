//! `bulkhead component export`: the components of the binary as files.

use bulkhead_artifacts::{CRYPTO_SOFT, DECRYPT, DECRYPT_OFFLINE, SIGNING, TOKEN};
use bulkhead_sandbox::sha256;
use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

/// Name and octets of each.
const FILES: [(&str, &[u8]); 5] = [
    ("decrypt.wasm", DECRYPT.wasm),
    ("token.wasm", TOKEN.wasm),
    ("signing.wasm", SIGNING.wasm),
    ("crypto-soft.wasm", CRYPTO_SOFT),
    ("decrypt-offline.wasm", DECRYPT_OFFLINE),
];

/// Writes them to `folder`, which is made where it is missing, and lists them as `sha256sum` does (the list
/// is good for `--components-pin`). A file that is something else is left alone and makes an error.
pub(super) fn export(folder: &Path) -> Result<String, String> {
    fs::create_dir_all(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is not a folder", folder.display()),
        _ => format!("{}: {error}", folder.display()),
    })?;
    let mut listed = String::new();
    for (name, octets) in FILES {
        let path = folder.join(name);
        write(&path, octets).map_err(|error| format!("{}: {error}", path.display()))?;
        let sum = base16ct::lower::encode_string(&sha256(octets));
        let _infallible = writeln!(listed, "{sum}  {name}");
    }
    Ok(listed)
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    match fs::read(path) {
        Ok(there) if there == octets => return Ok(()),
        Ok(_) => {
            return Err(io::Error::other(
                "another file of that name is there; remove it, or name another folder",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Under its name only when it is whole: the folder may be one that a server looks at.
    let aside = path.with_extension("wasm.part");
    fs::write(&aside, octets)?;
    fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let listed = export(&folder.path().join("new")).expect("written");
        assert_eq!(listed.lines().count(), FILES.len());
        assert_eq!(export(&folder.path().join("new")), Ok(listed));
        let theirs = folder.path().join("new/token.wasm");
        fs::write(&theirs, "theirs").expect("written");
        let error = export(&folder.path().join("new")).expect_err("it is another one");
        assert!(
            error.contains("token.wasm") && error.contains("remove it"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&theirs).expect("there"), "theirs");
    }
}
