//! Decrypts with rpgp as its documentation shows, without any code of Bulkhead.
//!
//! The native build is a library call. The build for wasm32-wasip2 is a component of the decrypt
//! world that imports no crypto, so that the sandbox can run it as a peer of the real component.

#[cfg(target_arch = "wasm32")]
mod component;

use pgp::composed::Message;
use pgp::types::Password;

/// Opens an armored message.
///
/// # Errors
///
/// The library's error as text, because a benchmark does not distinguish errors.
pub fn open(message: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let open = || {
        let (message, _headers) = Message::from_armor(message)?;
        let mut message = message.decrypt_with_password(&Password::from(passphrase))?;
        if message.is_compressed() {
            message = message.decompress()?;
        }
        Ok::<_, pgp::errors::Error>(message.as_data_vec()?)
    };
    open().map_err(|error| error.to_string())
}
