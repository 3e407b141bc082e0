//! The parsers of everything that comes from outside, against bytes of any kind in any pieces.

mod binary;
mod corpus;
#[path = "../fuzz/dialogue.rs"]
pub mod dialogue;
mod login;
#[path = "../fuzz/targets.rs"]
pub mod targets;
mod text;
