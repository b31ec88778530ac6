//! The secrets that tokens are made with: the current one, and the previous one while clients change over.

use crate::config::secrets::{STRONG_BYTES, Secret, SecretError, named};
use std::io::ErrorKind;
use std::path::Path;

/// The secrets that tokens are made with and verified against.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) current: Secret,
    pub(crate) previous: Option<Secret>,
}

impl Secrets {
    /// `SECRET` and `SECRET_PREVIOUS`, or the files in their place; `None` where neither is set.
    pub(crate) fn load(
        file: Option<&Path>,
        previous_file: Option<&Path>,
    ) -> Result<Option<Self>, SecretError> {
        let current = named("SECRET", file)?;
        // A rotation ends when the file is removed or emptied.
        let previous_file = previous_file.filter(|file| !is_gone_or_empty(file));
        let previous = named("SECRET_PREVIOUS", previous_file)?;
        match (current, previous) {
            (Some(current), previous) => Ok(Some(Self { current, previous })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(SecretError::OnlyPrevious),
        }
    }

    /// The names of those that are too short to be strong.
    pub(crate) fn weak(&self) -> impl Iterator<Item = &'static str> {
        let is_weak = |secret: &Secret| secret.expose().len() < STRONG_BYTES;
        let current = is_weak(&self.current).then_some("SECRET");
        let previous = self.previous.as_ref().is_some_and(is_weak);
        current
            .into_iter()
            .chain(previous.then_some("SECRET_PREVIOUS"))
    }
}

/// Whether there is no such file, or nothing in it. If that cannot be found out, it is `false`.
fn is_gone_or_empty(file: &Path) -> bool {
    match std::fs::metadata(file) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_below_32_bytes_is_weak() {
        let secrets = Secrets {
            current: Secret::new([b'x'; 32]),
            previous: Some(Secret::new([b'x'; 31])),
        };
        assert_eq!(secrets.weak().collect::<Vec<_>>(), ["SECRET_PREVIOUS"]);
    }
}
