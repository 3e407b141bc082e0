//! paircached: memcached for two machines.
//!
//! Layers, each knowing only those below it:
//!
//! | module | what it is |
//! |---|---|
//! | [`daemon`] | start-up order, privileges, signals, systemd, log |
//! | [`config`] | command line, sysconfig and TOML: one checked configuration |
//! | [`server`], [`replication::link`], [`monitor`] | sockets: clients, the peer, and operators |
//! | [`memory_file`] | the file that items outlive a restart in |
//! | [`command`] | what each command means |
//! | [`watch`] | what happens, told to the clients that watch; no I/O |
//! | [`replication`] | the state machine of the link; no I/O |
//! | [`protocol`] | bytes to requests, replies to bytes; no I/O |
//! | [`clock`], [`tls`], [`sparing`] | the time; certificates for TLS; how often the log tells what others cause |
//! | [`store`] | items, versions, memory; no I/O |

pub mod clock;
pub mod command;
pub mod config;
pub mod daemon;
pub mod memory_file;
pub mod monitor;
pub mod protocol;
pub mod replication;
pub mod server;
pub mod sparing;
pub mod store;
pub mod tls;
pub mod watch;
