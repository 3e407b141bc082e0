//! The clients' side: listeners, workers, connections.

mod connection;
pub mod listener;
mod socket;
mod trace;
pub mod worker;

pub use listener::{BindError, Listeners};
pub use worker::Workers;
