//! The versions of the tables.

/// Marks the file as a store of this program ("bulk" in ASCII).
pub(super) const APPLICATION_ID: i32 = 0x6275_6c6b;

/// Each migration upgrades the schema by one version.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("version-1.sql"),
    include_str!("version-2.sql"),
    include_str!("version-3.sql"),
];
