//! The resources, and what they answer to.

use hyper::Method;

/// What the paths of single requests begin with.
pub(crate) const REQUESTS: &str = "/crypto/requests/";

/// What a request is for. The names of the paths are also the labels of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    DecryptMessage,
    Token,
    TokenVerify,
    CryptoSign,
    CryptoVerify,
    CryptoTestApiKey,
    CryptoRequest,
    CryptoRedeliver,
    Livez,
    Readyz,
    Health,
    Metrics,
    OpenapiYaml,
    OpenapiJson,
    /// The server as a whole (`OPTIONS *`).
    Server,
    /// No resource.
    Unknown,
    /// Not even a request: what hyper could not parse.
    Malformed,
}

impl Route {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 17] = [
        Self::DecryptMessage,
        Self::Token,
        Self::TokenVerify,
        Self::CryptoSign,
        Self::CryptoVerify,
        Self::CryptoTestApiKey,
        Self::CryptoRequest,
        Self::CryptoRedeliver,
        Self::Livez,
        Self::Readyz,
        Self::Health,
        Self::Metrics,
        Self::OpenapiYaml,
        Self::OpenapiJson,
        Self::Server,
        Self::Unknown,
        Self::Malformed,
    ];

    pub(crate) fn of(path: &str) -> Self {
        if let Some(rest) = path.strip_prefix(REQUESTS) {
            return match rest.split_once('/') {
                None if !rest.is_empty() => Self::CryptoRequest,
                Some((id, "redeliver")) if !id.is_empty() => Self::CryptoRedeliver,
                _ => Self::Unknown,
            };
        }
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
            Self::CryptoSign => "/crypto/sign",
            Self::CryptoVerify => "/crypto/verify",
            Self::CryptoTestApiKey => "/crypto/test_api_key",
            Self::CryptoRequest => "/crypto/requests/{id}",
            Self::CryptoRedeliver => "/crypto/requests/{id}/redeliver",
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Health => "/health",
            Self::Metrics => "/metrics",
            Self::OpenapiYaml => "/openapi.yaml",
            Self::OpenapiJson => "/openapi.json",
            Self::Server => "*",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
        }
    }

    /// The methods it answers to, as `Allow` lists them.
    pub(crate) const fn allow(self) -> &'static str {
        match self {
            Self::DecryptMessage | Self::Token | Self::TokenVerify | Self::CryptoRedeliver => {
                "POST, OPTIONS"
            }
            // Not HEAD, which would spend quota for nothing.
            Self::CryptoSign => "GET, POST, OPTIONS",
            Self::CryptoVerify | Self::CryptoTestApiKey => "GET, OPTIONS",
            Self::CryptoRequest
            | Self::Livez
            | Self::Readyz
            | Self::Health
            | Self::Metrics
            | Self::OpenapiYaml
            | Self::OpenapiJson => "GET, HEAD, OPTIONS",
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
        assert_eq!(Route::of("/crypto/requests/1f"), Route::CryptoRequest);
        assert_eq!(
            Route::of("/crypto/requests/1f/redeliver"),
            Route::CryptoRedeliver
        );
        for nowhere in [
            "/crypto/requests/",
            "/crypto/requests//redeliver",
            "/crypto/requests/1/x",
            "/",
            "/token/",
            "/TOKEN",
            "unknown",
            "malformed",
            "",
        ] {
            assert_eq!(Route::of(nowhere), Route::Unknown, "{nowhere}");
        }
    }
}
