//! What every component says of itself.

use crate::refusal::{Refusal, RefusalKind, is_unseen};

pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/component",
        inline: "
            package bulkhead:sandbox;
            world described { export bulkhead:component/about@1.0.0; }
        ",
        additional_derives: [PartialEq, Eq],
    });
}

pub use bindings::exports::bulkhead::component::about::Description;

/// Octets of each of a description's texts.
const OCTETS_MAX: usize = 200;

impl Description {
    /// Whether it can be put into a log line, a label or a header as it is.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let wrong = |what, why| {
            let reason = format!("the {what} that it gives of itself {why}");
            Err(Refusal::new(RefusalKind::Description, reason))
        };
        for (what, text) in [
            ("name", &self.name),
            ("version", &self.version),
            ("summary", &self.summary),
        ] {
            if text.is_empty() || text.len() > OCTETS_MAX {
                return wrong(what, "is empty, or has more than 200 octets");
            }
            if text.chars().any(is_unseen) {
                return wrong(what, "has control characters");
            }
        }
        if semver::Version::parse(&self.version).is_err() {
            return wrong("version", "is not a semantic version, as 1.2.3 is");
        }
        Ok(())
    }
}
