//! Command line, `/etc/sysconfig/memcached` and `/etc/paircached/paircached.toml`, checked and
//! merged into one [`Config`].
//!
//! Precedence rises from built-in defaults over TOML and sysconfig to the command line. A fault on
//! the command line has memcached's message and exit code; faults in files are collected, named
//! with file and line, and end in exit code 78.

#![forbid(unsafe_code)]

mod address;
mod auth;
mod check;
mod cli;
mod link_tls;
mod load;
mod secret_file;
mod settings;
mod show;
mod source;
mod suboption;
mod sysconfig;
mod tls;
mod toml_file;
mod unused;
mod value;

pub use crate::protocol::Protocol;
use crate::replication::secret::Secret;
use crate::replication::{Mode, Seal};
pub use crate::server::Tag;
use crate::tls::PeerSettings;
pub use crate::tls::TlsMode;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use auth::PasswordFile;
pub use load::load;
use value::Complaint;

/// Exit code for a faulty file (`EX_CONFIG`).
const FAULTY: u8 = 78;

/// The daemon's command line, for completing it in shells.
pub fn command_line() -> clap::Command {
    cli::command()
}

/// Everything the daemon was told, checked; nothing in it needs to be parsed again.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Port for clients over TCP. Without meaning when `unix_socket` is set.
    pub tcp_port: Port,
    /// Port for clients over UDP. Without meaning when `unix_socket` is set.
    pub udp_port: Port,
    /// Addresses to listen on for clients; empty means any.
    pub listen: Vec<Listen>,
    /// Path of a Unix socket, which replaces TCP and UDP altogether.
    pub unix_socket: Option<PathBuf>,
    /// Permission bits of that socket, such as `0o700`.
    pub unix_mask: u32,
    /// Leave the terminal and run in the background.
    pub detach: bool,
    /// Raise the limit on the size of core files.
    pub coredumps: bool,
    /// User to become when started as root. That it is needed is checked by the daemon.
    pub user: Option<String>,
    /// Memory for items, in bytes.
    pub memory: u64,
    /// Evict items when memory is full, rather than refuse writes.
    pub evictions: bool,
    /// Simultaneous client connections.
    pub max_connections: u32,
    /// Keep all pages in memory (`mlockall`).
    pub lock_memory: bool,
    /// Have huge pages behind items and their index, where the system has some.
    pub large_pages: bool,
    /// How often `-v` was given: 0 to 255.
    pub verbosity: u8,
    /// File that gets the process id.
    pub pid_file: Option<PathBuf>,
    /// Factor from one slab class to the next, greater than 1.
    pub growth_factor: f64,
    /// Least space for key, value and flags of an item, in bytes.
    pub chunk_size: u32,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Requests served on one connection before others have their turn, at least 1.
    pub requests_per_event: u32,
    /// Connections that wait to be accepted (`listen(2)`).
    pub backlog: u32,
    /// Protocols that clients may speak.
    pub protocol: Protocol,
    /// The file of `-Y`: clients of the text protocol have to log in.
    pub ascii_file: Option<PathBuf>,
    /// `-S`: clients of the binary protocol have to log in.
    pub sasl: bool,
    /// The file with the passwords for either.
    pub password_file: Option<PasswordFile>,
    /// Largest item, in bytes.
    pub item_size_max: u64,
    /// Keep CAS values for clients.
    pub cas: bool,
    /// Obey `flush_all`.
    pub flush_enabled: bool,
    /// Obey `shutdown`.
    pub shutdown_command: bool,
    /// Obey `stats cachedump`, `stats detail` and the dumps of `lru_crawler`.
    pub dump_enabled: bool,
    /// Send surplus clients away at once, rather than let them wait.
    pub maxconns_fast: bool,
    /// Obey `watch`.
    pub watch_enabled: bool,
    /// Most that waits for one watcher, in bytes.
    pub watcher_buffer: u64,
    /// Most that a worker keeps for all watchers, in bytes.
    pub worker_buffer: u64,
    /// What ends the prefix of a key in `stats detail`.
    pub prefix_delimiter: u8,
    /// Count by prefix from the start.
    pub detail_enabled: bool,
    /// Have `stats sizes` count the items.
    pub track_sizes: bool,
    /// Seconds after which an idle client is sent away; 0 is never.
    pub idle_timeout: u32,
    /// Obey `debugtime`.
    pub relaxed_privileges: bool,
    /// TLS for clients over TCP.
    pub tls: crate::tls::Settings,
    /// The file that items outlive a graceful stop in, from the root directory on.
    pub memory_file: Option<PathBuf>,
    /// The other node; absent means that this node is alone.
    pub replication: Option<Replication>,
    /// The endpoint for operators; absent means that there is none.
    pub monitor: Option<Monitor>,
    /// What seals the link, read at the start; a reload may have no right to.
    pub seal: Seal,
    /// `-x`, or `-X` with ports, was used.
    pub repcached_flags: bool,
    /// Where the log goes and how much of it.
    pub log: Log,
    /// What to log as warnings once there is a log.
    pub warnings: Vec<String>,
    /// Search for dead items from the start.
    pub lru_crawler: bool,
    /// What `stats settings` shows for options that have no effect, by memcached's names.
    pub unused: BTreeMap<&'static str, String>,
    /// What was given and has no effect, with the reason.
    pub no_effect: Vec<String>,
    /// What all this was read from.
    pub sources: Sources,
}

impl Config {
    /// Reads the same command line and files again, from wherever the process is by now.
    ///
    /// # Errors
    /// As [`load`]; the running configuration is untouched.
    pub fn reload(&self) -> Result<Box<Config>, Exit> {
        load::reload(&self.sources)
    }

    /// Reads the shared secret again; nothing if there is none, or if it was a credential of systemd's
    /// that is out of sight.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do.
    pub fn reread_secret(&self) -> Result<Option<Secret>, String> {
        let path = self.replication.as_ref().and_then(|own| own.secret_file.as_deref());
        path.map_or(Ok(None), |path| {
            let is_credential = self.sources.credential.as_deref() == Some(path);
            secret_file::reread(path, is_credential)
        })
    }
}

/// A port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Not listened on.
    Off,
    /// The system chooses.
    Ephemeral,
    /// This one, at least 1.
    Number(u16),
}

impl Port {
    /// The number as it is asked for: 0 for none, -1 for any.
    pub fn as_asked(self) -> i32 {
        match self {
            Port::Off => 0,
            Port::Ephemeral => -1,
            Port::Number(port) => i32::from(port),
        }
    }
}

/// One address of `-l`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// As it was written.
    pub text: String,
    /// Where it is.
    pub place: Place,
    /// The protocol of its clients, else that of `-B`.
    pub protocol: Option<Protocol>,
    /// A name for its clients.
    pub tag: Option<Tag>,
    /// Whether its clients speak TLS, else as `-Z` says.
    pub tls: Option<TlsMode>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host's addresses.
    Inet {
        /// Name, IPv4 or IPv6 address without brackets; `*` means any.
        host: String,
        /// Port of its own, else `-p` and `-U`; 0 lets the system choose.
        port: Option<u16>,
    },
    /// A Unix socket, beside TCP and UDP.
    Unix(PathBuf),
}

/// How this node and its peer keep each other's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The other node.
    pub peer: Peer,
    /// Port listened on for the peer.
    pub port: u16,
    /// Addresses listened on for the peer; empty means any.
    pub listen: Vec<String>,
    /// Which of the two this node is.
    pub node: NodeName,
    /// Name that both nodes must share.
    pub cluster: String,
    /// Who decides atomic operations.
    pub atomic_ops: AtomicOps,
    /// When a write is acknowledged to its client.
    pub durability: Mode,
    /// How long a write waits for the peer.
    pub durability_timeout: Duration,
    /// File of the secret that both nodes must know.
    pub secret_file: Option<PathBuf>,
    /// The certificates of the link, in place of a secret.
    pub certificates: Option<PeerSettings>,
    /// Bound of remembered deletes, in bytes.
    pub tombstone_memory: u64,
    /// Bound of what is sent and not yet acknowledged, in bytes.
    pub window: u64,
    /// A peer whose clock differs by more is refused.
    pub max_clock_skew: Duration,
    /// How long a stop waits for the peer to take what it lacks.
    pub drain_timeout: Duration,
}

/// The endpoint for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Hosts and ports listened on, at least one.
    pub listen: Vec<(String, u16)>,
    /// Host and port of the other node's endpoint, if there is another node.
    pub peer: Option<(String, u16)>,
}

/// Who decides `add`, `cas`, `incr`, `decr`, `append` and `prepend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOps {
    /// The node that is asked.
    Local,
    /// The key's owner; without the link the node that is asked.
    Owner,
    /// The key's owner; without the link nobody.
    OwnerOrError,
}

/// Where the other node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name, IPv4 or IPv6 address without brackets.
    pub host: String,
    /// Its replication port.
    pub port: u16,
}

/// Which of the two nodes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// The nodes settle it between themselves.
    Auto,
    /// The first.
    A,
    /// The second.
    B,
}

/// Where the log goes and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// Under which name syslog files it.
    pub facility: Facility,
    /// The least important line that is still written.
    pub level: log::LevelFilter,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Syslog when detached, else standard error.
    Auto,
    /// Standard error.
    Stderr,
    /// Syslog.
    Syslog,
}

/// Facility of syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // syslog(3) says what each is
pub enum Facility {
    User,
    Daemon,
    Auth,
    Authpriv,
    Cron,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// What a [`Config`] was read from, for [`Config::reload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Command line as given, with the program's name.
    pub argv: Vec<OsString>,
    /// The secret as a credential of systemd's, if there was one at the start.
    credential: Option<PathBuf>,
    /// Working directory then, which relative paths start from.
    pub directory: PathBuf,
    /// Sysconfig files in the order read, later ones win.
    pub sysconfig: Vec<SourceFile>,
    /// The TOML file.
    pub toml: SourceFile,
}

/// A file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As given, perhaps relative to [`Sources::directory`].
    pub path: PathBuf,
    /// It may be missing.
    pub optional: bool,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Run the daemon.
    Run(Box<Config>),
    /// Print this on standard output and exit 0.
    Print(String),
}

/// Why there is nothing to run, to be printed and exited with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// For standard output, with its line ends.
    pub stdout: String,
    /// For standard error, with its line ends.
    pub stderr: String,
    /// Exit code of the process.
    pub code: u8,
}

impl Exit {
    /// For a fault of the command line.
    fn command_line(complaint: &Complaint) -> Exit {
        Exit { stdout: complaint.stdout(), stderr: complaint.stderr(), code: complaint.code }
    }

    /// For faults of files, a line each.
    fn faults(faults: &[String]) -> Exit {
        let stderr = faults.iter().map(|fault| format!("{fault}\n")).collect();
        Exit { stdout: String::new(), stderr, code: FAULTY }
    }
}
