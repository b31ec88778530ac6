//! Scopes: the rights of an access key.

use std::fmt::{Display, Formatter};

/// A right that an access key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Decrypt messages.
    Decrypt,
    /// Make tokens.
    TokenMake,
    /// Verify tokens.
    TokenVerify,
    /// Have messages signed, and verify signatures.
    Sign,
    /// See the caller's own signing requests.
    Requests,
    /// See the details of `/health`, and metrics.
    Observe,
    /// See all signing requests and the access keys, and send notifications again.
    Admin,
}

impl Scope {
    pub(crate) const ALL: [Self; 7] = [
        Self::Decrypt,
        Self::TokenMake,
        Self::TokenVerify,
        Self::Sign,
        Self::Requests,
        Self::Observe,
        Self::Admin,
    ];

    /// Returns the scope's name in the file of keys.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypt",
            Self::TokenMake => "token:make",
            Self::TokenVerify => "token:verify",
            Self::Sign => "sign",
            Self::Requests => "requests",
            Self::Observe => "observe",
            Self::Admin => "admin",
        }
    }

    /// Returns the scope with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Scopes(u8);

impl Scopes {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self::of(&Scope::ALL);

    pub(crate) const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < scopes.len() {
            bits |= 1 << scopes[at] as u8;
            at += 1;
        }
        Self(bits)
    }

    /// Returns the scopes in the order of [`Scope::ALL`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Scope> {
        let scopes = Scope::ALL.into_iter();
        scopes.filter(move |scope| self.has_one_of(Self::of(&[*scope])))
    }

    pub(crate) const fn has_one_of(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

impl Display for Scopes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(" "))
    }
}

/// The rights that a route requires. A route cannot be defined without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// The route is open to every caller, for example for load balancers.
    Nothing,
    /// The route is open to every caller, and shows less to callers without the scope `observe`. The handler decides.
    ScopeForDetails,
    /// The caller has at least one of these scopes.
    OneOf(Scopes),
}

impl Requirement {
    /// Returns the callers for whom the route is made.
    pub(crate) fn audience(self) -> Audience {
        match self {
            Self::Nothing => Audience::Everyone,
            Self::ScopeForDetails => Audience::Observers,
            Self::OneOf(scopes) if scopes == Scopes::of(&[Scope::Observe]) => Audience::Observers,
            Self::OneOf(_) => Audience::Callers,
        }
    }

    /// Returns the requirement of one scope.
    pub(crate) const fn scope(scope: Scope) -> Self {
        Self::OneOf(Scopes::of(&[scope]))
    }
}

/// The callers for whom a route is made, which decides the listeners that serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Everyone,
    Observers,
    Callers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_found_by_its_name_only() {
        for scope in Scope::ALL {
            assert_eq!(Scope::named(scope.name()), Some(scope));
        }
        for name in ["", "Decrypt", "token", "all", "*"] {
            assert_eq!(Scope::named(name), None, "{name}");
        }
    }

    #[test]
    fn set_has_exactly_its_scopes() {
        for scope in Scope::ALL {
            let one = Scopes::of(&[scope]);
            assert_eq!(one.iter().collect::<Vec<_>>(), [scope]);
            assert!(Scopes::ALL.has_one_of(one) && !Scopes::NONE.has_one_of(one));
        }
        let two = Scopes::of(&[Scope::Admin, Scope::Decrypt]);
        assert_eq!(two.to_string(), "decrypt admin");
        assert!(!two.has_one_of(Scopes::of(&[Scope::Sign])));
    }
}
