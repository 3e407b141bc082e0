//! Bytes to requests and replies to bytes. No I/O, no store, no clock: everything here can be
//! fuzzed and property-tested with byte strings alone.

pub mod base64;
pub mod meta;
mod number;
mod output;
pub mod text;

pub use number::{parse_i32, parse_i64, parse_u32_cut, parse_u64};
pub use output::Output;

/// Longest key, in bytes.
pub const KEY_MAX: usize = 250;
