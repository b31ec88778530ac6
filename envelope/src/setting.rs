//! The names of a setting.

use std::fmt;

/// A setting of the server. Its flag and its variable follow from the name of its field: `body_max` is
/// `--body-max` and `BULKHEAD_BODY_MAX`. The variables of shared secrets have no prefix, because existing
/// deployments have them: `secret_file` is `SECRET_FILE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting(&'static str);

impl Setting {
    /// Creates the setting with the given field. The macro [`setting!`](crate::setting!) checks that the field exists.
    pub const fn new(field: &'static str) -> Self {
        Self(field)
    }

    /// Returns the flag, such as `--body-max`.
    pub fn flag(self) -> String {
        format!("--{}", self.0.replace('_', "-"))
    }

    /// Returns the environment variable, such as `BULKHEAD_BODY_MAX`.
    pub fn variable(self) -> String {
        Self::variable_of(self.0)
    }

    /// Returns the environment variable of the setting with the given field.
    pub fn variable_of(field: &str) -> String {
        let prefix = if field.starts_with("secret_") {
            ""
        } else {
            "BULKHEAD_"
        };
        prefix.to_owned() + &field.to_ascii_uppercase()
    }
}

/// The flag, and the variable in parentheses.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.flag(), self.variable())
    }
}

/// Returns the [`Setting`] of the given field of the given struct. It does not compile if there is no such field.
#[macro_export]
macro_rules! setting {
    ($settings:ty, $field:ident) => {{
        let _is_a_field = |settings: &$settings| {
            let _ = &settings.$field;
        };
        $crate::Setting::new(stringify!($field))
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_is_named_after_its_field() {
        let text = Setting::new("body_max").to_string();
        assert_eq!(text, "--body-max (BULKHEAD_BODY_MAX)");
        assert_eq!(Setting::new("secret_file").variable(), "SECRET_FILE");
    }
}
