//! The contracts in `wit/`, as authors of components see them.

use std::path::PathBuf;
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{
    Docs, PackageId, Resolve, Span, Stability, Type, TypeDef, TypeDefKind, WorldItem,
};

/// The packages that others depend on.
const SHARED: [&str; 2] = ["component", "crypto"];

/// The version of all packages, as the documentation says.
const DRAFT: &str = "0.2.0";

#[test]
fn every_folder_is_a_package_with_its_name_and_the_draft_version() {
    let folders = packages();
    assert!(folders.len() > SHARED.len(), "{folders:?}");
    for (folder, (_, package)) in folders.iter().zip(&contracts().packages) {
        let name = &package.name;
        assert_eq!((&*name.namespace, &*name.name), ("bulkhead", &**folder));
        let version = name.version.as_ref().map(ToString::to_string);
        assert_eq!(version.as_deref(), Some(DRAFT), "{name}");
    }
}

#[test]
fn every_wit_item_is_documented() {
    let resolve = contracts();
    let is_silent = |docs: &Docs| docs.contents.as_deref().is_none_or(str::is_empty);
    let silent: Vec<_> = items(&resolve)
        .into_iter()
        .filter(|item| item.docs.is_some_and(is_silent))
        .map(|item| item.what)
        .collect();
    assert!(silent.is_empty(), "items should have comments: {silent:#?}");
}

#[test]
fn every_wit_item_has_a_since_gate() {
    let resolve = contracts();
    let silent: Vec<_> = items(&resolve)
        .into_iter()
        .filter(|item| item.stability.is_some_and(|gate| !gate.is_stable()))
        .map(|item| item.what)
        .collect();
    assert!(silent.is_empty(), "items should have @since: {silent:#?}");
}

#[test]
fn every_interface_and_world_has_its_own_file() {
    let resolve = contracts();
    let file = |span| {
        let location = resolve
            .source_map
            .resolve_span(span)
            .expect("span should have a location");
        PathBuf::from(location.path)
    };
    let expected = |package: Option<PackageId>, stem: &str| {
        let package = &resolve.packages[package.expect("item should belong to a package")];
        directory()
            .join(&package.name.name)
            .join(stem)
            .with_extension("wit")
    };
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.as_deref().expect("name should be present");
        assert_eq!(file(interface.span), expected(interface.package, name));
    }
    for (_, world) in &resolve.worlds {
        assert_eq!(file(world.span), expected(world.package, "world"));
    }
}

/// The form that `wkg wit build` and `wasm-tools component wit --wasm` write and that registries
/// keep.
#[test]
fn published_package_equals_the_source() {
    let resolve = contracts();
    for (id, package) in &resolve.packages {
        let bytes = wit_component::encode(&resolve, id).expect("package should be encoded");
        let decoded = wit_component::decode(&bytes).expect("bytes should be decoded");
        let DecodedWasm::WitPackage(published, main) = decoded else {
            panic!("{} should decode to a package", package.name);
        };
        assert_eq!(text(&published, main), text(&resolve, id));
        let again = wit_component::encode(&published, main).expect("package should be encoded");
        assert!(
            again == bytes,
            "{} should encode to the same bytes again",
            package.name
        );
    }
}

/// Returns the folder that `BULKHEAD_WIT` names, or else the folder in the source tree.
fn directory() -> PathBuf {
    std::env::var_os("BULKHEAD_WIT").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit")),
        PathBuf::from,
    )
}

/// Returns the names of all folders, in the order of their dependencies.
fn packages() -> Vec<String> {
    let entries = std::fs::read_dir(directory()).expect("folder should be accessible");
    let folders = entries.map(|entry| entry.expect("entry should be valid"));
    let folders = folders.filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().into_string());
    let names = names.map(|name| name.expect("text should be UTF-8"));
    let mut others: Vec<_> = names.filter(|name| !SHARED.contains(&&**name)).collect();
    others.sort();
    SHARED
        .map(str::to_owned)
        .into_iter()
        .chain(others)
        .collect()
}

/// Loads folder by folder, like the guests and the host.
fn contracts() -> Resolve {
    let mut resolve = Resolve {
        all_features: true,
        ..Resolve::default()
    };
    for package in packages() {
        let parsed = resolve.push_path(directory().join(&package));
        parsed.unwrap_or_else(|error| panic!("{package}: {error:?}"));
    }
    resolve
}

fn text(resolve: &Resolve, package: PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer
        .print(resolve, package, &[])
        .expect("package should be printed");
    printer.output.to_string()
}

/// An item of a contract.
struct Item<'a> {
    /// The item's name and location.
    what: String,
    /// `None` if the item cannot have a comment.
    docs: Option<&'a Docs>,
    /// `None` if the item cannot have a gate.
    stability: Option<&'a Stability>,
}

fn items(resolve: &Resolve) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut add = |name: &str, span, docs, stability| {
        let location = resolve.render_location(span);
        let what = format!("{name} ({location})");
        items.push(Item {
            what,
            docs,
            stability,
        });
    };
    for (_, it) in &resolve.packages {
        add(&it.name.to_string(), Span::default(), Some(&it.docs), None);
    }
    for (_, it) in &resolve.interfaces {
        let name = it.name.as_deref().unwrap_or("an interface without a name");
        add(name, it.span, Some(&it.docs), Some(&it.stability));
        for it in it.functions.values() {
            add(&it.name, it.span, Some(&it.docs), Some(&it.stability));
        }
    }
    for (_, it) in &resolve.worlds {
        add(&it.name, it.span, Some(&it.docs), Some(&it.stability));
        for (key, it) in it.imports.iter().chain(&it.exports) {
            let docs = match it {
                WorldItem::Function(it) => Some(&it.docs),
                // Types are handled below. Older tools fail on a comment on an interface here when
                // they read the published form.
                WorldItem::Type { .. } | WorldItem::Interface { .. } => None,
            };
            add(
                &resolve.name_world_key(key),
                it.span(),
                docs,
                Some(it.stability(resolve)),
            );
        }
    }
    for (_, it) in &resolve.types {
        // A type without a name is part of another type.
        let Some(name) = &it.name else { continue };
        let docs = (!is_used(resolve, it)).then_some(&it.docs);
        add(name, it.span, docs, Some(&it.stability));
        for (name, span, docs) in parts(it) {
            add(name, span, Some(docs), None);
        }
    }
    items
}

/// Returns whether a type comes from another interface by `use`.
fn is_used(resolve: &Resolve, it: &TypeDef) -> bool {
    match it.kind {
        TypeDefKind::Type(Type::Id(other)) => resolve.types[other].owner != it.owner,
        _ => false,
    }
}

/// Returns fields and cases.
fn parts(it: &TypeDef) -> Vec<(&str, Span, &Docs)> {
    macro_rules! all {
        ($parts:expr) => {
            $parts
                .iter()
                .map(|it| (&*it.name, it.span, &it.docs))
                .collect()
        };
    }
    match &it.kind {
        TypeDefKind::Record(it) => all!(it.fields),
        TypeDefKind::Variant(it) => all!(it.cases),
        TypeDefKind::Enum(it) => all!(it.cases),
        TypeDefKind::Flags(it) => all!(it.flags),
        _ => Vec::new(),
    }
}
