//! A certificate authority for demonstrations. It makes the certificates of all services once, and does not store its
//! private key.

use super::control::fail;
use crate::tls::Authority;
use clap::Parser;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes certificates of a new authority in a folder: `ca.pem`, and for each service `SERVICE.crt` and `SERVICE.key`.
/// Does nothing if the folder has them. The private keys are readable by this user only.
#[derive(Debug, Parser)]
#[command(name = "mock-authority", max_term_width = 100)]
struct Settings {
    folder: PathBuf,

    /// A service with the names and addresses of its certificate
    #[arg(required = true, value_name = "SERVICE=NAME,…", value_parser = service)]
    services: Vec<(String, Vec<String>)>,
}

fn service(text: &str) -> Result<(String, Vec<String>), &'static str> {
    let (service, names) = text.split_once('=').ok_or("give SERVICE=NAME,…")?;
    let names: Vec<_> = names.split(',').map(str::to_owned).collect();
    let is_part = |name: &str| !name.is_empty() && !name.contains('/');
    if is_part(service) && names.iter().all(|name| is_part(name)) {
        Ok((service.to_owned(), names))
    } else {
        Err("a name is empty or has a slash")
    }
}

/// Runs the mock with the arguments of this process.
pub fn main() -> ExitCode {
    match issue(&Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn issue(settings: &Settings) -> io::Result<()> {
    let certificate = settings.folder.join("ca.pem");
    if certificate.exists() {
        return Ok(());
    }
    let authority = Authority::default();
    for (service, names) in &settings.services {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let identity = authority.issue_for(&names);
        let file = |extension: &str| settings.folder.join(format!("{service}{extension}"));
        write(&file(".key"), 0o600, &identity.key)?;
        write(&file(".crt"), 0o644, &identity.certificate)?;
    }
    // This is the last file: without it, the next start makes all files again.
    write(&certificate, 0o644, &authority.certificate)
}

fn write(path: &Path, mode: u32, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(mode);
    let mut file: File = file.open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}
