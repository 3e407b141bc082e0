//! The clients' side: listeners, workers, connections.

mod bind;
mod connection;
mod errand;
mod held;
mod inherited;
pub mod listener;
mod presence;
mod socket;
mod terms;
mod timers;
mod tls;
mod trace;
mod udp;
mod watching;
pub mod worker;

pub use bind::BindError;
pub use inherited::Inherited;
pub use listener::Listeners;
pub use terms::{Tag, Terms};
pub use worker::Workers;
