//! The descriptions of components.

use crate::rejection::{Rejection, RejectionKind, is_unseen};

pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/component",
        inline: "
            package bulkhead:sandbox;
            world described { export bulkhead:component/about@0.2.0; }
        ",
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::exports::bulkhead::component::about::Description;

/// Maximum length of each text of a description, in bytes.
const BYTES_MAX: usize = 200;

impl Description {
    /// Checks that the description can be put into a log line, a label or a header unchanged.
    pub(crate) fn check(&self) -> Result<(), Rejection> {
        let wrong = |field, fault| {
            let reason = format!("the {field} in its description {fault}");
            Err(Rejection::new(RejectionKind::Description, reason))
        };
        for (field, text) in [
            ("name", &self.name),
            ("version", &self.version),
            ("summary", &self.summary),
        ] {
            if text.is_empty() || text.len() > BYTES_MAX {
                return wrong(field, "is empty or has more than 200 bytes");
            }
            if text.chars().any(is_unseen) {
                return wrong(field, "contains control characters");
            }
        }
        if semver::Version::parse(&self.version).is_err() {
            return wrong("version", "is not a semantic version such as 1.2.3");
        }
        Ok(())
    }
}
