//! The worlds of components: the interfaces that a component exports and may import, by name and version. They are
//! checked before anything is linked, so that a refusal says what to change.

use crate::engine::Sandbox;
use crate::load::Loaded;
use crate::refusal::{Refusal, RefusalKind, is_unseen};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Declares the worlds: for each of them its documentation, the name by which operators know its components, and
/// the interfaces of ours that it exports and imports.
macro_rules! worlds {
    ($($(#[$doc:meta])+ $world:ident $name:literal exports $exports:tt imports $imports:tt)+) => {
        /// A kind of component: a world of `wit/`, as this build implements it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum World {
            $($(#[$doc])+ $world,)+
        }

        impl World {
            /// All worlds.
            pub const ALL: &'static [Self] = &[$(Self::$world),+];

            pub(crate) const fn contract(self) -> Contract {
                match self {
                    $(Self::$world => Contract { name: $name, exports: &$exports, imports: &$imports },)+
                }
            }
        }
    };
}

// The list of worlds.
worlds! {
    /// Opens messages.
    Decrypt "decrypt"
        exports ["bulkhead:decrypt/decryptor@0.2.0"]
        imports ["bulkhead:crypto/kdf@1.0.0", "bulkhead:crypto/bulk@1.0.0"]
    /// Makes and checks tokens.
    Token "token" exports ["bulkhead:token/authenticator@1.0.0"] imports []
    /// Decides for the signing relay.
    Signing "signing"
        exports ["bulkhead:signing/upstream@1.0.0", "bulkhead:signing/verifier@1.0.0", "bulkhead:signing/webhook@1.0.0"]
        imports []
}

impl World {
    /// The name by which operators know the components of this world.
    pub const fn name(self) -> &'static str {
        self.contract().name
    }

    /// The world of this name.
    pub fn named(name: &str) -> Option<Self> {
        let mut worlds = Self::ALL.iter().copied();
        worlds.find(|world| world.name() == name)
    }

    /// The world of a component, according to its exports. Returns nothing for a component of no known world.
    pub fn of(sandbox: &Sandbox, loaded: &Loaded) -> Option<Self> {
        let shape = loaded.component.component_type();
        let exports: Vec<&str> = shape
            .exports(&sandbox.engine)
            .map(|(name, _)| name)
            .collect();
        Self::by_exports(&exports)
    }

    fn by_exports(exports: &[&str]) -> Option<Self> {
        let is_exported = |name: &&str| exports.iter().any(|export| is_same(name, export));
        let mut worlds = Self::ALL.iter().copied();
        worlds.find(|world| world.contract().exports.iter().any(is_exported))
    }
}

/// The interfaces that components of a world export and import, with versions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contract {
    name: &'static str,
    /// Every component exports `ABOUT` too.
    exports: &'static [&'static str],
    /// Every component may also import the inert part of WASI.
    imports: &'static [&'static str],
}

const ABOUT: &str = "bulkhead:component/about@1.0.0";

impl Contract {
    /// Whether components may import one of `interfaces`.
    pub(crate) fn imports(&self, interfaces: &[&str]) -> bool {
        self.imports.iter().any(|name| interfaces.contains(name))
    }

    /// Looks at names and versions. What hides behind a good name shows when it is linked and called.
    pub(crate) fn check(&self, component: &Component, engine: &Engine) -> Result<(), Refusal> {
        let shape = component.component_type();
        let imports: Vec<&str> = shape.imports(engine).map(|(name, _)| name).collect();
        let exports: Vec<&str> = shape.exports(engine).map(|(name, _)| name).collect();
        self.check_imports(&imports)?;
        self.check_exports(&exports)
    }

    fn check_imports(&self, imports: &[&str]) -> Result<(), Refusal> {
        let inert = crate::wasi::INERT.iter();
        let allowed: Vec<&str> = inert.chain(self.imports).copied().collect();
        let refused: Vec<String> = imports
            .iter()
            .filter(|import| !allowed.iter().any(|allowed| is_served(allowed, import)))
            .map(|import| import_refused(import, &allowed))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        let ours = match self.imports {
            [] => "nothing".to_owned(),
            imports => imports.join(" and "),
        };
        Err(Refusal::new(
            RefusalKind::Import,
            format!(
                "it imports {}. A {} component may import {ours}, and of WASI only what does nothing \
                 here: wasi:cli without its run, wasi:io and wasi:random",
                shortened(&refused),
                self.name
            ),
        ))
    }

    fn check_exports(&self, exports: &[&str]) -> Result<(), Refusal> {
        for wanted in [ABOUT].iter().chain(self.exports) {
            if exports.iter().any(|export| is_served(wanted, export)) {
                continue;
            }
            let same = exports.iter().find(|export| is_same(wanted, export));
            if let Some(other) = same {
                return Err(Refusal::new(
                    RefusalKind::Version,
                    format!(
                        "it exports {}, and this server knows {wanted} and versions compatible with it",
                        quoted(other)
                    ),
                ));
            }
            return Err(Refusal::new(
                RefusalKind::World,
                format!(
                    "it does not export {wanted}, which makes a {} component; {}",
                    self.name,
                    exported_instead(exports)
                ),
            ));
        }
        Ok(())
    }
}

/// What may be the matter when the world is a wrong one.
fn exported_instead(exports: &[&str]) -> String {
    match (World::by_exports(exports), exports) {
        (Some(world), _) => format!("it looks like a {} component", world.name()),
        (None, []) => "it exports nothing".into(),
        (None, exports) => {
            let exports: Vec<_> = exports.iter().map(|name| quoted(name)).collect();
            format!("it exports {}", shortened(&exports))
        }
    }
}

fn import_refused(import: &str, allowed: &[&str]) -> String {
    let known = allowed.iter().find(|name| is_same(name, import));
    let import = quoted(import);
    known.map_or_else(
        || import.clone(),
        |name| format!("{import} (of which this server has {name})"),
    )
}

/// Names come from the file: they are shown, and must not be more than names.
fn quoted(name: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    let clean = name.chars().take(CHARACTERS_MAX);
    clean
        .map(
            |character| {
                if is_unseen(character) { '?' } else { character }
            },
        )
        .collect()
}

fn shortened(names: &[String]) -> String {
    const NAMES_MAX: usize = 16;
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// An interface's name and its version, if it has one.
fn split(name: &str) -> (&str, Option<semver::Version>) {
    match name.rsplit_once('@') {
        Some((interface, version)) => (interface, semver::Version::parse(version).ok()),
        None => (name, None),
    }
}

/// Whether two names are of one interface, in whatever versions.
fn is_same(one: &str, other: &str) -> bool {
    split(one).0 == split(other).0
}

/// Whether two names of an interface go together: the same major version, or the same minor one
/// where the major is 0; as the component model has it.
fn is_served(ours: &str, theirs: &str) -> bool {
    let ((ours, our_version), (theirs, their_version)) = (split(ours), split(theirs));
    let track = |version: &semver::Version| match version.major {
        0 => (0, version.minor),
        major => (major, 0),
    };
    ours == theirs
        && our_version.zip(their_version).is_some_and(|(our, their)| {
            track(&our) == track(&their) && our.pre.is_empty() && their.pre.is_empty()
        })
}

#[cfg(test)]
mod older;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_together_as_the_component_model_has_it() {
        for (ours, theirs, fit) in [
            ("a:b/c@1.0.0", "a:b/c@1.0.0", true),
            ("a:b/c@1.1.0", "a:b/c@1.0.0", true),
            ("a:b/c@1.0.0", "a:b/c@1.7.2", true),
            ("a:b/c@1.0.0", "a:b/c@2.0.0", false),
            ("a:b/c@1.0.0", "a:b/c@1.0.0-rc.1", false),
            ("a:b/c@1.0.0", "a:b/c", false),
            ("a:b/c@1.0.0", "a:b/d@1.0.0", false),
            ("wasi:io/streams@0.2.6", "wasi:io/streams@0.2.0", true),
            ("wasi:io/streams@0.2.6", "wasi:io/streams@0.3.0", false),
        ] {
            assert_eq!(is_served(ours, theirs), fit, "{ours} and {theirs}");
        }
    }

    #[test]
    fn refused_imports_are_named() {
        let imports = [
            "wasi:io/streams@0.2.3",
            "wasi:filesystem/types@0.2.3",
            "bulkhead:crypto/kdf@1.2.0",
            "bulkhead:crypto/bulk@2.0.0",
        ];
        let refusal = World::Decrypt
            .contract()
            .check_imports(&imports)
            .expect_err("refused");
        assert_eq!(refusal.kind, RefusalKind::Import);
        let reason = &refusal.reason;
        assert!(reason.contains("wasi:filesystem/types@0.2.3"), "{reason}");
        assert!(
            reason.contains("bulkhead:crypto/bulk@2.0.0 (of which this server has"),
            "{reason}"
        );
        assert!(!reason.contains("wasi:io/streams"), "{reason}");
        assert!(!reason.contains("kdf@1.2.0"), "{reason}");
        let refusal = World::Token
            .contract()
            .check_imports(&imports)
            .expect_err("refused");
        assert!(refusal.reason.contains("kdf@1.2.0"), "{refusal}");
    }

    #[test]
    fn a_wrong_world_is_recognised() {
        let token = ["bulkhead:token/authenticator@1.0.0", ABOUT];
        assert_eq!(World::Token.contract().check_exports(&token), Ok(()));
        let refusal = World::Decrypt
            .contract()
            .check_exports(&token)
            .expect_err("refused");
        assert_eq!(refusal.kind, RefusalKind::World);
        assert!(
            refusal.reason.contains("looks like a token component"),
            "{refusal}"
        );
        let next = ["bulkhead:token/authenticator@2.0.0", ABOUT];
        let refusal = World::Token
            .contract()
            .check_exports(&next)
            .expect_err("refused");
        assert_eq!(refusal.kind, RefusalKind::Version);
        let refusal = World::Token
            .contract()
            .check_exports(&[])
            .expect_err("refused");
        assert!(refusal.reason.ends_with("it exports nothing"), "{refusal}");
        let odd = ["a\nb"; 28];
        let refusal = World::Token
            .contract()
            .check_exports(&odd)
            .expect_err("refused");
        assert!(refusal.reason.ends_with("a?b and 12 more"), "{refusal}");
    }
}
