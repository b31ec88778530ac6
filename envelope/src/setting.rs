//! The names of a setting.

use std::fmt;

/// A setting of the server. Its flag and its variable follow from the name of its field: `body_max` is
/// `--body-max` and `BULKHEAD_BODY_MAX`. The variables of shared secrets have no prefix, because existing
/// deployments have them: `secret_file` is `SECRET_FILE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting(&'static str);

impl Setting {
    /// The setting with this field. [`setting!`](crate::setting) checks that there is such a field.
    pub const fn new(field: &'static str) -> Self {
        Self(field)
    }

    /// The flag, as in `--body-max`.
    pub fn flag(self) -> String {
        format!("--{}", self.0.replace('_', "-"))
    }

    /// The environment variable, as in `BULKHEAD_BODY_MAX`.
    pub fn variable(self) -> String {
        Self::variable_of(self.0)
    }

    /// The environment variable of the setting with this field.
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

/// The [`Setting`](crate::Setting) with this field of this struct.
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
