//! Enums of algorithms, by their numbers in the registries of RFC 9580.

/// Defines an enum from the names and numbers of one registry: the discriminants are the numbers, `ALL` lists the
/// variants, and `from_id` looks one up.
macro_rules! registry {
    ($(#[$attribute:meta])* $name:ident { $($variant:ident = $id:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the documentation")]
        #[repr(u8)]
        pub enum $name {
            $($variant = $id,)+
        }

        impl $name {
            /// All variants, for tests that cover every algorithm.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$variant),+];

            /// Returns the algorithm with this number in the registry, or `None` if it is not supported.
            pub const fn from_id(id: u8) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
