//! The resources, and what they answer to.

use hyper::Method;

/// What a request is for. The names of the paths are also the labels of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    DecryptMessage,
    Token,
    TokenVerify,
    Livez,
    Readyz,
    Health,
    Metrics,
    /// The server as a whole (`OPTIONS *`).
    Server,
    /// No resource.
    Unknown,
    /// Not even a request: what hyper could not parse.
    Malformed,
}

impl Route {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::DecryptMessage,
        Self::Token,
        Self::TokenVerify,
        Self::Livez,
        Self::Readyz,
        Self::Health,
        Self::Metrics,
        Self::Server,
        Self::Unknown,
        Self::Malformed,
    ];

    pub(crate) fn of(path: &str) -> Self {
        let known = Self::ALL[..=Self::Server as usize].iter();
        known
            .copied()
            .find(|route| route.name() == path)
            .unwrap_or(Self::Unknown)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DecryptMessage => "/decryptMessage",
            Self::Token => "/token",
            Self::TokenVerify => "/token/verify",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::Server => "*",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
        }
    }

    /// The methods it answers to, as `Allow` lists them.
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::DecryptMessage | Self::Token | Self::TokenVerify => "POST, OPTIONS",
            Self::Livez | Self::Readyz | Self::Health | Self::Metrics => "GET, HEAD, OPTIONS",
            Self::Server => "GET, HEAD, POST, OPTIONS",
            Self::Unknown | Self::Malformed => "",
        }
    }

    pub(crate) fn allows(self, method: &Method) -> bool {
        self.allow()
            .split(", ")
            .any(|allowed| allowed == method.as_str())
            // `*` is no resource that could be read.
            && (self != Self::Server || method == Method::OPTIONS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places() {
        for (place, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, place, "{route:?}");
        }
    }

    #[test]
    fn paths_lead_to_their_routes_alone() {
        assert_eq!(Route::of("/token/verify"), Route::TokenVerify);
        for nowhere in ["/", "/token/", "/TOKEN", "unknown", "malformed", ""] {
            assert_eq!(Route::of(nowhere), Route::Unknown, "{nowhere}");
        }
    }
}
