//! The token secrets: the current one, and the previous one during a rotation.

use crate::config::secrets::{self, STRONG_BYTES, Secret, SecretError, named};
use std::path::Path;

/// The secrets that tokens are made with and verified against.
#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) current: Secret,
    pub(crate) previous: Option<Secret>,
}

impl Secrets {
    /// Reads `SECRET` and `SECRET_PREVIOUS`, or the files instead of them. Returns `None` if neither is set.
    ///
    /// # Errors
    /// [`SecretError`] if a secret cannot be used, or only the previous secret is set.
    pub(crate) fn load(
        file: Option<&Path>,
        previous_file: Option<&Path>,
    ) -> Result<Option<Self>, SecretError> {
        let current = named("SECRET", file)?;
        let previous = named("SECRET_PREVIOUS", secrets::previous_file(previous_file))?;
        match (current, previous) {
            (Some(current), previous) => Ok(Some(Self { current, previous })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(SecretError::OnlyPrevious("SECRET")),
        }
    }

    /// Returns the names of the secrets that contain bytes by accident, with texts on them.
    pub(crate) fn odd(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let current = self.current.oddity().map(|text| ("SECRET", text));
        let previous = self.previous.as_ref().and_then(Secret::oddity);
        current
            .into_iter()
            .chain(previous.map(|text| ("SECRET_PREVIOUS", text)))
    }

    /// Returns the names of the secrets that are shorter than recommended.
    pub(crate) fn weak(&self) -> impl Iterator<Item = &'static str> {
        let is_weak = |secret: &Secret| secret.expose().len() < STRONG_BYTES;
        let current = is_weak(&self.current).then_some("SECRET");
        let previous = self.previous.as_ref().is_some_and(is_weak);
        current
            .into_iter()
            .chain(previous.then_some("SECRET_PREVIOUS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_below_32_bytes_is_weak() {
        let secrets = Secrets {
            current: Secret::new([b'x'; 32]),
            previous: Some(Secret::new([b'x'; 31])),
        };
        assert_eq!(secrets.weak().collect::<Vec<_>>(), ["SECRET_PREVIOUS"]);
    }
}
