//! The clients' side: listeners, workers, connections.

mod connection;
mod held;
mod inherited;
pub mod listener;
mod presence;
mod socket;
mod terms;
mod tls;
mod trace;
mod watching;
pub mod worker;

pub use inherited::Inherited;
pub use listener::{BindError, Listeners};
pub use terms::{Tag, Terms};
pub use worker::Workers;
