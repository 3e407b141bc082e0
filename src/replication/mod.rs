//! Replication: two nodes, one link, both send.
//!
//! The core is free of I/O and of clocks: [`hello`] is the handshake, [`frame`] the encoding,
//! [`session`] the state machine of an established link, [`Memory`] what outlives it, [`secret`] what
//! keeps others out. [`link`] is the rim where sockets are.

mod durability;
mod errands;
pub mod frame;
pub mod hello;
pub mod link;
mod memory;
mod seal;
pub mod secret;
pub mod session;
mod status;

pub use durability::{Durability, DurabilityFigures, Mode};
pub use errands::{Decision, ErrandFigures, Errands, Raw};
pub use memory::{Lineage, Memory, Restored};
pub use seal::Seal;
pub use status::{Report, State, Status};
