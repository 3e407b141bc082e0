//! Bytes to requests and replies to bytes. No I/O, no store, no clock: everything here can be
//! fuzzed and property-tested with byte strings alone.

pub mod base64;
pub mod binary;
pub mod login;
pub mod meta;
mod number;
mod output;
pub mod text;
pub mod udp;
pub mod uri;

pub use number::{parse_i32, parse_i64, parse_u32_cut, parse_u64};
pub use output::Output;

/// Longest key, in bytes.
pub const KEY_MAX: usize = 250;

/// Protocols that clients may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Whatever the first byte is.
    #[default]
    Auto,
    /// Text only.
    Ascii,
    /// Binary only.
    Binary,
}

impl Protocol {
    /// Whether a connection that begins with this byte speaks the binary protocol.
    pub fn is_binary(self, first: u8) -> bool {
        match self {
            Protocol::Auto => first == binary::REQUEST,
            Protocol::Ascii => false,
            Protocol::Binary => true,
        }
    }

    /// The name by which `stats settings` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Auto => "auto-negotiate",
            Protocol::Ascii => "ascii",
            Protocol::Binary => "binary",
        }
    }
}
