//! Compares error texts that unit tests cause with their table. Crates include this file as a module of their tests.

/// The table: situations, each with the text that it causes, indented.
const TABLE: &str = include_str!("blackbox/errors/unit.txt");

/// Checks that the text of `error`, which `situation` has caused, is in the table. `replaced` are texts that differ
/// from run to run, with their names in the table.
#[track_caller]
pub(crate) fn assert_listed(
    situation: &str,
    error: &impl std::fmt::Display,
    replaced: &[(&str, &str)],
) {
    let mut text = error.to_string();
    for (found, name) in replaced {
        text = text.replace(found, name);
    }
    let entry = ["\n", situation, "\n    ", &text, "\n"].concat();
    assert!(
        TABLE.contains(&entry),
        "tests/blackbox/errors/unit.txt should contain:{entry}"
    );
}
