//! What the daemon was told, as far as commands behave by it or `stats settings` shows it.

use std::path::PathBuf;

/// The settings of a running daemon.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Client connections at once (`-c`).
    pub max_connections: u32,
    /// The TCP port (`-p`); 0 if there is none.
    pub tcp_port: u16,
    /// The addresses of `-l`, separated by commas.
    pub interfaces: Option<String>,
    /// `-v`, counted.
    pub verbosity: u8,
    /// `-M` says no.
    pub evictions: bool,
    /// `-s`.
    pub unix_socket: Option<PathBuf>,
    /// `-a`.
    pub unix_mask: u32,
    /// `-A`.
    pub shutdown_command: bool,
    /// `-f`.
    pub growth_factor: f64,
    /// `-n`, in bytes.
    pub chunk_size: u32,
    /// `-t`.
    pub threads: usize,
    /// `-R`.
    pub requests_per_event: u32,
    /// `-C` says no.
    pub cas: bool,
    /// `-b`.
    pub backlog: u32,
    /// `-I`, in bytes.
    pub item_size_max: u64,
    /// `-F` says no.
    pub flush_enabled: bool,
    /// `-X` says no.
    pub dump_enabled: bool,
    /// The flags of repcached were used: `stats` shows its two fields.
    pub repcached: bool,
}
