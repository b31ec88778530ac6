//! The worlds of components: the interfaces that a component exports and may import, by name and version.
//! They are checked before a component is linked, so that a rejection says what to change.

use crate::World;
use crate::engine::Sandbox;
use crate::load::Loaded;
use crate::rejection::{Rejection, RejectionKind, is_unseen};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Declares the worlds: the documentation of each world, the name of its components for operators, and the
/// interfaces of this project that it exports and imports.
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

            const fn contract(self) -> $crate::world::Contract {
                match self {
                    $(Self::$world => $crate::world::Contract { name: $name, exports: &$exports, imports: &$imports },)+
                }
            }
        }
    };
}

pub(crate) use worlds;

impl World {
    /// Returns the name of this world's components for operators, such as `decrypt`.
    pub const fn name(self) -> &'static str {
        self.contract().name
    }

    /// Returns the world of a component according to its exports, or `None` if it is not known.
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
    pub(crate) name: &'static str,
    /// The exports. Every component also exports `ABOUT`.
    pub(crate) exports: &'static [&'static str],
    /// The imports. Every component may also import the inert part of WASI.
    pub(crate) imports: &'static [&'static str],
}

const ABOUT: &str = "bulkhead:component/about@0.2.0";

impl Contract {
    /// Returns whether components may import one of `interfaces`.
    pub(crate) fn imports(&self, interfaces: &[&str]) -> bool {
        self.imports.iter().any(|name| interfaces.contains(name))
    }

    /// Checks names and versions of imports and exports. Linking checks their types, and the known answers
    /// check their behaviour.
    pub(crate) fn check(&self, component: &Component, engine: &Engine) -> Result<(), Rejection> {
        let shape = component.component_type();
        let imports: Vec<&str> = shape.imports(engine).map(|(name, _)| name).collect();
        let exports: Vec<&str> = shape.exports(engine).map(|(name, _)| name).collect();
        self.check_imports(&imports)?;
        self.check_exports(&exports)
    }

    fn check_imports(&self, imports: &[&str]) -> Result<(), Rejection> {
        let inert = crate::wasi::INERT.iter();
        let allowed: Vec<&str> = inert.chain(self.imports).copied().collect();
        let forbidden: Vec<String> = imports
            .iter()
            .filter(|import| !allowed.iter().any(|allowed| is_served(allowed, import)))
            .map(|import| describe_import(import, &allowed))
            .collect();
        if forbidden.is_empty() {
            return Ok(());
        }
        let ours = match self.imports {
            [] => String::new(),
            imports => format!("{} and ", imports.join(" and ")),
        };
        Err(Rejection::new(
            RejectionKind::Import,
            format!(
                "it imports {}. A {} component may import only {ours}the inert part of WASI: \
                 wasi:cli without run, wasi:io and wasi:random",
                shortened(&forbidden),
                self.name
            ),
        ))
    }

    fn check_exports(&self, exports: &[&str]) -> Result<(), Rejection> {
        for wanted in [ABOUT].iter().chain(self.exports) {
            if exports.iter().any(|export| is_served(wanted, export)) {
                continue;
            }
            let same = exports.iter().find(|export| is_same(wanted, export));
            if let Some(other) = same {
                return Err(Rejection::new(
                    RejectionKind::Version,
                    format!(
                        "it exports {}, but this server needs {wanted} or a compatible version",
                        quoted(other)
                    ),
                ));
            }
            return Err(Rejection::new(
                RejectionKind::World,
                format!(
                    "it does not export {wanted}, which a {} component must export; {}",
                    self.name,
                    exported_instead(exports)
                ),
            ));
        }
        Ok(())
    }
}

/// Returns a description of the exports of a component that has another world than required.
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

fn describe_import(import: &str, allowed: &[&str]) -> String {
    let known = allowed.iter().find(|name| is_same(name, import));
    let import = quoted(import);
    known.map_or_else(
        || import.clone(),
        |name| format!("{import} (this server has {name})"),
    )
}

/// Returns a name from a component's file in a form that can be shown: at most 100 characters, without
/// control characters.
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

/// Splits a name into the interface and its version, if it has a valid one.
fn split(name: &str) -> (&str, Option<semver::Version>) {
    match name.rsplit_once('@') {
        Some((interface, version)) => (interface, semver::Version::parse(version).ok()),
        None => (name, None),
    }
}

/// Returns whether two names are of the same interface, in any versions.
fn is_same(one: &str, other: &str) -> bool {
    split(one).0 == split(other).0
}

/// Returns whether two names are of compatible versions of the same interface. As in the component model,
/// the major versions must be equal, or the minor versions if the major version is 0.
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
    fn versions_are_compatible_as_in_the_component_model() {
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
    fn rejected_imports_are_named() {
        let imports = [
            "wasi:io/streams@0.2.3",
            "wasi:filesystem/types@0.2.3",
            "bulkhead:crypto/kdf@0.2.7",
            "bulkhead:crypto/bulk@0.3.0",
        ];
        let rejection = World::Decrypt
            .contract()
            .check_imports(&imports)
            .expect_err("component should be rejected");
        assert_eq!(rejection.kind, RejectionKind::Import);
        let reason = &rejection.reason;
        assert!(reason.contains("wasi:filesystem/types@0.2.3"), "{reason}");
        assert!(
            reason.contains("bulkhead:crypto/bulk@0.3.0 (this server has"),
            "{reason}"
        );
        assert!(!reason.contains("wasi:io/streams"), "{reason}");
        assert!(!reason.contains("kdf@0.2.7"), "{reason}");
        let rejection = World::Token
            .contract()
            .check_imports(&imports)
            .expect_err("component should be rejected");
        assert!(rejection.reason.contains("kdf@0.2.7"), "{rejection}");
    }

    #[test]
    fn wrong_world_is_recognised() {
        let token = ["bulkhead:token/authenticator@0.2.0", ABOUT];
        assert_eq!(World::Token.contract().check_exports(&token), Ok(()));
        let rejection = World::Decrypt
            .contract()
            .check_exports(&token)
            .expect_err("component should be rejected");
        assert_eq!(rejection.kind, RejectionKind::World);
        assert!(
            rejection.reason.contains("looks like a token component"),
            "{rejection}"
        );
        let next = ["bulkhead:token/authenticator@0.3.0", ABOUT];
        let rejection = World::Token
            .contract()
            .check_exports(&next)
            .expect_err("component should be rejected");
        assert_eq!(rejection.kind, RejectionKind::Version);
        let rejection = World::Token
            .contract()
            .check_exports(&[])
            .expect_err("component should be rejected");
        assert!(
            rejection.reason.ends_with("it exports nothing"),
            "{rejection}"
        );
        let odd = ["a\nb"; 28];
        let rejection = World::Token
            .contract()
            .check_exports(&odd)
            .expect_err("component should be rejected");
        assert!(rejection.reason.ends_with("a?b and 12 more"), "{rejection}");
    }
}
