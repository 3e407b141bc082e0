//! The settings while they are being collected: each with the place it is from.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::address;
use super::cli::{self, Flag, Words};
use super::link_tls::LinkTls;
use super::source::{Set, Source};
use super::suboption::{self, Lru};
use super::tls::Tls;
use super::unused::{self, ChunkMax};
use super::value::{self, Checked, Complaint};
use super::{AtomicOps, Facility, Listen, LogTarget, NodeName, Port, Protocol};
use crate::replication::Mode;

/// Every setting.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tcp_port: Set<Port>,
    pub(super) udp_port: Set<Port>,
    pub(super) listen: Set<Vec<Listen>>,
    pub(super) unix_socket: Set<Option<PathBuf>>,
    pub(super) unix_mask: Set<u32>,
    pub(super) detach: Set<bool>,
    pub(super) coredumps: Set<bool>,
    pub(super) user: Set<Option<String>>,
    pub(super) memory: Set<u64>,
    pub(super) evictions: Set<bool>,
    pub(super) max_connections: Set<u32>,
    pub(super) lock_memory: Set<bool>,
    pub(super) large_pages: Set<bool>,
    pub(super) verbosity: Set<u8>,
    pub(super) pid_file: Set<Option<PathBuf>>,
    pub(super) growth_factor: Set<f64>,
    pub(super) chunk_size: Set<u32>,
    pub(super) threads: Set<u32>,
    pub(super) requests_per_event: Set<u32>,
    pub(super) backlog: Set<u32>,
    pub(super) protocol: Set<Protocol>,
    pub(super) ascii_file: Set<Option<PathBuf>>,
    pub(super) sasl: Set<bool>,
    pub(super) sasl_file: Set<Option<PathBuf>>,
    pub(super) item_size_max: Set<u64>,
    pub(super) cas: Set<bool>,
    pub(super) flush_enabled: Set<bool>,
    pub(super) shutdown_command: Set<bool>,
    pub(super) dump_enabled: Set<bool>,
    pub(super) maxconns_fast: Set<bool>,
    pub(super) watch_enabled: Set<bool>,
    pub(super) watcher_buffer: Set<u64>,
    pub(super) worker_buffer: Set<u64>,
    pub(super) prefix_delimiter: Set<u8>,
    pub(super) detail_enabled: Set<bool>,
    pub(super) track_sizes: Set<bool>,
    /// Seconds; 0 is never.
    pub(super) idle_timeout: Set<u32>,
    pub(super) relaxed_privileges: Set<bool>,
    pub(super) tls: Tls,
    pub(super) memory_file: Set<Option<PathBuf>>,
    pub(super) lru_crawler: Set<bool>,
    /// Checked, and then without effect but for `-I`.
    pub(super) chunk_max: Set<ChunkMax>,
    /// Checked, and then without effect.
    pub(super) lru: Set<Lru>,
    /// Checked, and then without effect.
    pub(super) napi_ids: Set<u32>,
    /// Host, and port if the peer's own setting says one.
    pub(super) peer: Set<Option<(String, Option<u16>)>>,
    /// The CONNECT of `-X LISTEN:CONNECT`.
    pub(super) dial_port: Set<Option<u16>>,
    pub(super) replication_port: Set<u16>,
    pub(super) replication_listen: Set<Vec<String>>,
    pub(super) node: Set<NodeName>,
    pub(super) cluster: Set<String>,
    pub(super) atomic_ops: Set<AtomicOps>,
    pub(super) durability: Set<Mode>,
    pub(super) durability_timeout: Set<Duration>,
    pub(super) secret_file: Set<Option<PathBuf>>,
    pub(super) link_tls: LinkTls,
    pub(super) tombstone_memory: Set<u64>,
    pub(super) window: Set<u64>,
    pub(super) max_clock_skew: Set<Duration>,
    pub(super) drain_timeout: Set<Duration>,
    /// Hosts and ports.
    pub(super) monitor_listen: Set<Vec<(String, u16)>>,
    pub(super) monitor_peer: Set<Option<(String, u16)>>,
    pub(super) log_target: Set<LogTarget>,
    pub(super) log_facility: Set<Facility>,
    pub(super) log_level: Set<log::LevelFilter>,
    /// `-x`, or `-X` with ports, was used.
    pub(super) repcached_flags: bool,
    pub(super) warnings: Vec<String>,
    /// What `stats settings` shows for that, by memcached's names.
    pub(super) unused: BTreeMap<&'static str, String>,
    /// What was given and does nothing, with the place and the reason.
    pub(super) no_effect: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tcp_port: Set::new(Port::Number(11211)),
            udp_port: Set::new(Port::Off),
            listen: Set::new(Vec::new()),
            unix_socket: Set::new(None),
            unix_mask: Set::new(0o700),
            detach: Set::new(false),
            coredumps: Set::new(false),
            user: Set::new(None),
            memory: Set::new(64 << 20),
            evictions: Set::new(true),
            max_connections: Set::new(1024),
            lock_memory: Set::new(false),
            large_pages: Set::new(false),
            verbosity: Set::new(0),
            pid_file: Set::new(None),
            growth_factor: Set::new(1.25),
            chunk_size: Set::new(48),
            threads: Set::new(4),
            requests_per_event: Set::new(20),
            backlog: Set::new(1024),
            protocol: Set::new(Protocol::Auto),
            ascii_file: Set::new(None),
            sasl: Set::new(false),
            sasl_file: Set::new(None),
            item_size_max: Set::new(1 << 20),
            cas: Set::new(true),
            flush_enabled: Set::new(true),
            shutdown_command: Set::new(false),
            dump_enabled: Set::new(true),
            maxconns_fast: Set::new(true),
            watch_enabled: Set::new(true),
            watcher_buffer: Set::new(256 << 10),
            worker_buffer: Set::new(64 << 10),
            prefix_delimiter: Set::new(b':'),
            detail_enabled: Set::new(false),
            track_sizes: Set::new(false),
            idle_timeout: Set::new(0),
            relaxed_privileges: Set::new(false),
            tls: Tls::default(),
            memory_file: Set::new(None),
            lru_crawler: Set::new(true),
            chunk_max: Set::new(ChunkMax { bytes: unused::CHUNK_MAX, given: false }),
            lru: Set::new(Lru::default()),
            napi_ids: Set::new(0),
            peer: Set::new(None),
            dial_port: Set::new(None),
            replication_port: Set::new(11212),
            replication_listen: Set::new(Vec::new()),
            node: Set::new(NodeName::Auto),
            cluster: Set::new(String::from("default")),
            atomic_ops: Set::new(AtomicOps::Local),
            durability: Set::new(Mode::Async),
            durability_timeout: Set::new(Duration::from_secs(1)),
            secret_file: Set::new(None),
            link_tls: LinkTls::default(),
            tombstone_memory: Set::new(16 << 20),
            window: Set::new(4 << 20),
            max_clock_skew: Set::new(Duration::from_secs(60)),
            drain_timeout: Set::new(Duration::from_secs(5)),
            monitor_listen: Set::new(Vec::new()),
            monitor_peer: Set::new(None),
            log_target: Set::new(LogTarget::Auto),
            log_facility: Set::new(Facility::Daemon),
            log_level: Set::new(log::LevelFilter::Info),
            repcached_flags: false,
            warnings: Vec::new(),
            unused: BTreeMap::new(),
            no_effect: Vec::new(),
        }
    }
}

impl Settings {
    /// Takes over what `words` give, as far as it is in order; the rest is complained about with
    /// the option's name.
    pub(super) fn apply_words(&mut self, words: &Words, source: &Source) -> Vec<(Flag, Complaint)> {
        let mut complaints = Vec::new();
        // All -l of one layer together replace those of the layer below.
        let mut listen: Option<Vec<Listen>> = None;
        for (flag, value) in &words.given {
            let result = match flag {
                Flag::Listen => text(*flag, value).and_then(address::listen).map(|addresses| {
                    listen.get_or_insert_default().extend(addresses);
                }),
                _ => self.apply(*flag, value, source),
            };
            if let Err(complaint) = result {
                complaints.push((*flag, complaint));
            }
        }
        if let Some(listen) = listen {
            self.listen.put(listen, source);
        }
        if !words.leftover.is_empty() {
            let words: Vec<_> = words.leftover.iter().map(|word| word.to_string_lossy()).collect();
            self.warnings.push(format!(
                "{source}: words that belong to no option are ignored: {}",
                words.join(" ")
            ));
        }
        complaints
    }

    /// Takes over one option, other than `-l`.
    pub(super) fn apply(&mut self, flag: Flag, word: &OsStr, source: &Source) -> Checked<()> {
        match flag {
            Flag::UnixSocket => self.unix_socket.put(Some(path(flag, word)?), source),
            Flag::SecretFile => self.secret_file.put(Some(path(flag, word)?), source),
            Flag::PidFile => self.pid_file.put(Some(path(flag, word)?), source),
            Flag::MemoryFile => self.memory_file.put(Some(path(flag, word)?), source),
            Flag::Shutdown => self.shutdown_command.put(true, source),
            Flag::Daemon => self.detach.put(true, source),
            Flag::Coredumps => self.coredumps.put(true, source),
            Flag::NoEvictions => self.evictions.put(false, source),
            Flag::LockMemory => self.lock_memory.put(true, source),
            Flag::LargePages => self.large_pages.put(true, source),
            Flag::NoCas => self.cas.put(false, source),
            Flag::NoFlush => self.flush_enabled.put(false, source),
            Flag::Tls => self.tls.enabled.put(true, source),
            Flag::NoDump => self.dump_enabled.put(false, source),
            Flag::NoWatch => self.watch_enabled.put(false, source),
            Flag::Delimiter => {
                let Some(&delimiter) = word.as_bytes().first() else {
                    let what = "No delimiter specified";
                    return Err(Complaint::new(1, what, "leave -D out"));
                };
                self.prefix_delimiter.put(delimiter, source);
                self.detail_enabled.put(true, source);
            }
            Flag::Sasl => self.sasl.put(true, source),
            Flag::AuthFile => self.ascii_file.put(Some(path(flag, word)?), source),
            Flag::Help
            | Flag::License
            | Flag::Version
            | Flag::Sysconfig
            | Flag::Config
            | Flag::CheckConfig => {}
            _ => self.apply_text(flag, text(flag, word)?, source)?,
        }
        Ok(())
    }

    fn apply_text(&mut self, flag: Flag, text: &str, source: &Source) -> Checked<()> {
        let text = self.number(flag, text, source);
        match flag {
            Flag::Port => self.tcp_port.put(value::port(text)?, source),
            Flag::UdpPort => self.udp_port.put(value::port(text)?, source),
            Flag::Listen => self.listen.put(address::listen(text)?, source),
            Flag::UnixMask => self.unix_mask.put(value::mode(text)?, source),
            Flag::User => self.user.put(Some(String::from(text)), source),
            Flag::Memory => self.memory.put(value::memory(text)?, source),
            Flag::Connections => {
                let number = value::positive(text, "Maximum connections must be greater than 0")?;
                self.max_connections.put(number, source);
            }
            Flag::Verbose => self.verbosity.put(text.parse().unwrap_or(u8::MAX), source),
            Flag::GrowthFactor => self.growth_factor.put(value::growth_factor(text)?, source),
            Flag::ChunkSize => {
                let number = value::positive(text, "Chunk size must be greater than 0")?;
                self.chunk_size.put(number, source);
            }
            Flag::Threads => {
                let number = value::positive(text, "Number of threads must be greater than 0")?;
                self.threads.put(number, source);
            }
            Flag::Requests => {
                let message = "Number of requests per event must be greater than 0";
                self.requests_per_event.put(value::positive(text, message)?, source);
            }
            Flag::Backlog => self.backlog.put(value::backlog(text)?, source),
            Flag::Protocol => self.protocol.put(value::protocol(text)?, source),
            Flag::ItemSize => self.item_size_max.put(value::item_size(text)?, source),
            Flag::Peer => {
                let peer = address::peer(text)?;
                // A port with the peer says more than an earlier layer's -X.
                if peer.1.is_some() && self.dial_port.source != *source {
                    self.dial_port.put(None, source);
                }
                self.peer.put(Some(peer), source);
                self.repcached_flags = true;
            }
            Flag::Extended => suboption::apply(text, self, source)?,
            Flag::NapiIds => {
                let message = "Maximum number of NAPI IDs must be greater than 0";
                self.napi_ids.put(value::positive(text, message)?, source);
                self.idle_flag(flag, "connections are dealt to the threads in turn", source);
            }
            Flag::ReplicationPort => self.replication_ports(text, source)?,
            _ => {}
        }
        Ok(())
    }

    /// The value of a flag that takes a number, without what memcached ignores behind one.
    fn number<'t>(&mut self, flag: Flag, text: &'t str, source: &Source) -> &'t str {
        let decimal = match flag {
            Flag::Port | Flag::UdpPort | Flag::Memory | Flag::Connections | Flag::ChunkSize => {
                false
            }
            Flag::Threads | Flag::Requests | Flag::Backlog | Flag::NapiIds => false,
            Flag::GrowthFactor => true,
            _ => return text,
        };
        let (number, ignored) = value::in_front(text, decimal);
        if ignored {
            let flag = cli::name(flag);
            let warning =
                format!("{source}: {flag} {text}: taken for {number}, as memcached takes it");
            self.warnings.push(warning);
        }
        number
    }

    fn idle_flag(&mut self, flag: Flag, reason: &str, source: &Source) {
        self.no_effect.push(format!("{source}: {}: {reason}", cli::name(flag)));
    }

    fn replication_ports(&mut self, text: &str, source: &Source) -> Checked<()> {
        let (listen, connect) = value::replication_ports(text)?;
        self.replication_port.put(listen, source);
        self.dial_port.put(connect, source);
        // The port of a peer from an earlier layer is overruled, its host is not.
        if self.peer.source != *source
            && let Some((_, port)) = &mut self.peer.value
        {
            *port = None;
        }
        self.repcached_flags = true;
        Ok(())
    }

    /// The port dialled at the peer.
    pub(super) fn peer_port(&self) -> u16 {
        let own = self.peer.value.as_ref().and_then(|(_, port)| *port);
        self.dial_port.value.or(own).unwrap_or(self.replication_port.value)
    }
}

fn text(flag: Flag, word: &OsStr) -> Checked<&str> {
    match word.to_str() {
        Some("") => Err(empty(flag)),
        Some(text) => Ok(text),
        None => Err(Complaint::new(
            64,
            format!("The value of {} is not valid UTF-8.", cli::name(flag)),
            "write it in UTF-8",
        )),
    }
}

fn path(flag: Flag, word: &OsStr) -> Checked<PathBuf> {
    match word.is_empty() {
        true => Err(empty(flag)),
        false => Ok(PathBuf::from(word)),
    }
}

/// memcached would take it for 0.
pub(super) fn empty(flag: Flag) -> Complaint {
    Complaint::new(
        64,
        format!("The value of {} is empty.", cli::name(flag)),
        "give it a value or leave it out",
    )
}
