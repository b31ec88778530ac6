//! A host of `--allowed-hosts`.

use std::net::Ipv6Addr;

/// A host without a port, as a setting lists it. `*` stands for every host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHost(String);

impl AllowedHost {
    /// Parses a name or an address without a port.
    ///
    /// # Errors
    /// A text that says what to write.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let is_name = |text: &str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            text.bytes().any(|byte| byte.is_ascii_alphanumeric()) && text.bytes().all(is_part)
        };
        let inside = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address = inside.unwrap_or(text);
        if text == "*" || is_name(text) {
            Ok(Self(normal(text)))
        } else if let Ok(address) = address.parse::<Ipv6Addr>() {
            Ok(Self(address.to_string()))
        } else {
            Err(
                "give host names or IP addresses without ports, as in decrypt.example, or * for all hosts",
            )
        }
    }

    /// Returns whether this is the host, which is in the form of [`normal`], or stands for every host.
    pub(super) fn allows(&self, host: &str) -> bool {
        self.0 == "*" || self.is(host)
    }

    /// Returns whether this is the host, which is in the form of [`normal`].
    pub(super) fn is(&self, host: &str) -> bool {
        self.0 == host
    }
}

/// Returns a host in lower case and without the dot of the root zone.
pub(super) fn normal(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_host_has_no_port_and_no_scheme() {
        for malformed in [
            "",
            "a:80",
            "http://a",
            "a/b",
            "[::1]:80",
            "*.example",
            "é.example",
            ".",
            "-",
            "..",
            "[::1",
            "::1]",
            "[[::1",
            "[[::1]]",
            "[a]",
        ] {
            assert!(AllowedHost::parse(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn address_may_have_brackets_and_a_name_the_dot_of_the_root_zone() {
        for (text, host) in [
            ("[2001:DB8::1]", "2001:db8::1"),
            ("::1", "::1"),
            ("Api.Example.", "api.example"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            let allowed = AllowedHost::parse(text).expect("host should be valid");
            assert!(allowed.is(host), "{text}");
        }
    }
}
