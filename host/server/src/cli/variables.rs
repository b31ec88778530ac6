//! Variables that look like settings but are not, such as misspelt ones.

use crate::capabilities::signing::STORE_PASSWORD;
use crate::process::logging;
use bulkhead_http::Setting;
use clap::CommandFactory as _;
use std::ffi::OsString;

const PREFIX: &str = "BULKHEAD_";

/// Variables without a flag, except the log level.
const SECRETS: [&str; 6] = [
    "SECRET",
    "SECRET_PREVIOUS",
    "BULKHEAD_UPSTREAM_API_KEY",
    "BULKHEAD_WEBHOOK_SECRET",
    "BULKHEAD_WEBHOOK_SECRET_PREVIOUS",
    STORE_PASSWORD,
];

/// Variables of the tests, which the image with the tests also sets for the server.
const OF_TESTS: [&str; 4] = [
    "BULKHEAD_BIN",
    "BULKHEAD_FIXTURES",
    "BULKHEAD_MOCKS",
    "BULKHEAD_WIT",
];
const OF_TESTS_PREFIX: &str = "BULKHEAD_TEST_";

/// A variable without an effect, although its name looks like that of a setting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownVariable {
    pub(crate) name: String,
    /// The setting that is probably meant.
    pub(crate) nearest: Option<String>,
}

impl std::fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not a setting, and has no effect", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, ". The nearest setting is {nearest}"),
            None => Ok(()),
        }
    }
}

/// Returns the unknown variables of the environment, in the order of their names.
pub(crate) fn unknown_variables() -> Vec<UnknownVariable> {
    unknown(std::env::vars_os())
}

fn unknown(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<UnknownVariable> {
    let known = known();
    let mut names: Vec<_> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, value)| {
            name.starts_with(PREFIX)
                && !known.contains(name)
                && !OF_TESTS.contains(&name.as_str())
                && !name.starts_with(OF_TESTS_PREFIX)
                && !is_of_kubernetes(name, value)
        })
        .map(|(name, _)| name)
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| UnknownVariable {
            nearest: nearest(&name, &known),
            name,
        })
        .collect()
}

/// Returns the names of all variables that have an effect.
fn known() -> Vec<String> {
    let settings = super::Cli::command();
    let settings = settings
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .map(|long| Setting::variable_of(&long.replace('-', "_")));
    let others = SECRETS.into_iter().chain([logging::VARIABLE]);
    settings.chain(others.map(str::to_owned)).collect()
}

/// Returns whether Kubernetes sets this variable, for a service whose name is `bulkhead` or begins with it.
fn is_of_kubernetes(name: &str, value: &OsString) -> bool {
    let is_address = || {
        let value = value.to_string_lossy();
        value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://")
    };
    let has_port = || {
        let mut parts = name.split("_PORT_").skip(1);
        parts.any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || has_port()
        || name.ends_with("_PORT") && is_address()
}

/// Returns the known name with the fewest different letters, with or without the prefix. Returns `None` if more
/// than a third of the letters differ.
fn nearest(name: &str, known: &[String]) -> Option<String> {
    let bare = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let name = bare(name);
    let distance = |known: &String| strsim::damerau_levenshtein(&name, &bare(known));
    let (distance, nearest) = known.iter().map(|known| (distance(known), known)).min()?;
    (distance <= name.len() / 3).then(|| nearest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variable_is_found_with_its_nearest_setting() {
        for (name, nearest) in [
            ("BULKHEAD_BODY_MAXX", Some("BULKHEAD_BODY_MAX")),
            ("BULKHEAD_LISTNE", Some("BULKHEAD_LISTEN")),
            (
                "BULKHEAD_UPSTREAM_APIKEY",
                Some("BULKHEAD_UPSTREAM_API_KEY"),
            ),
            ("BULKHEAD_SECRET_FILE", Some("SECRET_FILE")),
            ("BULKHEAD_SECRET", Some("SECRET")),
            (
                "BULKHEAD_SECRET_PREVIOUS_FILE",
                Some("SECRET_PREVIOUS_FILE"),
            ),
            ("BULKHEAD_LOGS", Some("BULKHEAD_LOG")),
            // Commands use it. A server that ignored it silently would be open.
            ("BULKHEAD_ACCESS_KEY", Some("BULKHEAD_ACCESS_KEYS")),
            ("BULKHEAD_SOMETHING_ELSE", None),
            ("BULKHEAD_", None),
        ] {
            let expected = UnknownVariable {
                name: name.to_owned(),
                nearest: nearest.map(str::to_owned),
            };
            let found = unknown([(name.into(), "value".into())].into_iter());
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn known_variables_and_those_of_kubernetes_are_not_reported() {
        let variables = [
            ("BULKHEAD_LISTEN", "127.0.0.1:1"),
            ("BULKHEAD_STORE_PASSWORD", "p"),
            ("BULKHEAD_WEBHOOK_SECRET_PREVIOUS", "s"),
            ("BULKHEAD_LOG", "debug"),
            ("SECRET", "s"),
            ("SECRETS", "of another program"),
            ("PATH", "/bin"),
            ("BULKHEAD_SERVICE_HOST", "10.0.0.1"),
            ("BULKHEAD_SERVICE_PORT", "80"),
            ("BULKHEAD_SERVICE_PORT_HTTP", "80"),
            ("BULKHEAD_PORT", "tcp://10.0.0.1:80"),
            ("BULKHEAD_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("BULKHEAD_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("BULKHEAD_DB_PORT_5432_TCP_PROTO", "tcp"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(unknown(variables.into_iter()), []);
        let port = [("BULKHEAD_PORT".into(), "8080".into())];
        assert_eq!(unknown(port.into_iter()).len(), 1);
    }
}
