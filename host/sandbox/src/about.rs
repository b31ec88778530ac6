//! What every component says of itself.

/// Who a component is; see `wit/component`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Short name, the same over all versions.
    pub name: String,
    /// Version of the implementation.
    pub version: String,
    /// One line for people.
    pub summary: String,
}
