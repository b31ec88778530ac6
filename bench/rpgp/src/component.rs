//! The exports of the decrypt world.

#[expect(clippy::pedantic, reason = "generated from wit/")]
mod bindings {
    wit_bindgen::generate!({
        path: ["../../wit/component", "../../wit/crypto", "../../wit/decrypt"],
        world: "bulkhead:decrypt/decrypt",
        generate_all,
        export_macro_name: "export",
    });
}

use bindings::exports::bulkhead::component::about;
use bindings::exports::bulkhead::decrypt::decryptor::{Guest, Limits, Opened, Rejection};

struct Component;

#[expect(
    unsafe_code,
    reason = "exported functions have fixed names, which Rust calls unsafe"
)]
mod exports {
    crate::component::bindings::export!(Component with_types_in crate::component::bindings);
    use super::Component;
}

impl Guest for Component {
    fn open(message: Vec<u8>, passphrase: Vec<u8>, _limits: Limits) -> Result<Opened, Rejection> {
        let passphrase = String::from_utf8_lossy(&passphrase);
        let plaintext = crate::open(&message, &passphrase).map_err(Rejection::Unsupported)?;
        Ok(Opened {
            plaintext,
            is_openpgp: false,
        })
    }
}

impl about::Guest for Component {
    fn describe() -> about::Description {
        about::Description {
            name: "rpgp".into(),
            version: "0".into(),
            summary: "rpgp without host crypto".into(),
        }
    }

    fn self_test() -> Result<(), String> {
        Ok(())
    }
}
