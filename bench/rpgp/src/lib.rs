//! rpgp used the way its documentation shows, without anything of Bulkhead.
//!
//! Natively it is a library call. Compiled for wasm32-wasip2 it is a component of the decrypt
//! world that imports no crypto, so that the sandbox can run it beside the real one.

#[cfg(target_arch = "wasm32")]
mod component;

use pgp::composed::Message;
use pgp::types::Password;

/// Opens an armored message. Any failure is a text: whoever measures wants none.
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
