//! The signing relay.
