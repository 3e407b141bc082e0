//! The table of options, and what is printed of it.

/// Every option there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Flag {
    Port,
    UdpPort,
    UnixSocket,
    UnixMask,
    Shutdown,
    Listen,
    Daemon,
    Coredumps,
    User,
    Memory,
    NoEvictions,
    Connections,
    LockMemory,
    Verbose,
    Help,
    License,
    Version,
    PidFile,
    GrowthFactor,
    ChunkSize,
    Threads,
    Requests,
    NoCas,
    Backlog,
    Protocol,
    ItemSize,
    NoFlush,
    NoDump,
    NoWatch,
    LargePages,
    NapiIds,
    Extended,
    Sasl,
    Tls,
    AuthFile,
    MemoryFile,
    Delimiter,
    Peer,
    ReplicationPort,
    SecretFile,
    Sysconfig,
    Config,
    CheckConfig,
}

pub(super) struct Spec {
    pub(super) flag: Flag,
    pub(super) short: Option<char>,
    pub(super) long: &'static str,
    pub(super) value: Option<&'static str>,
    /// Empty for what `-h` keeps back: wrappers take its words for parts that are there.
    pub(super) help: &'static str,
}

impl Spec {
    /// How the option is written, for `-h`.
    fn usage(&self) -> String {
        let short = self.short.map_or(String::from("    "), |short| format!("-{short}"));
        match (self.value, self.long.len()) {
            (Some(value), 1) => format!("{short} <{value}>"),
            (value, _) => {
                let value = value.map_or(String::new(), |value| format!("=<{value}>"));
                let comma = if self.short.is_some() { ", " } else { "" };
                format!("{short}{comma}--{}{value}", self.long)
            }
        }
    }
}

const fn spec(
    flag: Flag,
    short: Option<char>,
    long: &'static str,
    value: Option<&'static str>,
    help: &'static str,
) -> Spec {
    Spec { flag, short, long, value, help }
}

/// In the order that `-h` lists them.
#[rustfmt::skip]
pub(super) static SPECS: &[Spec] = &[
    spec(Flag::Port, Some('p'), "port", Some("num"), "TCP port; 0 is off, -1 any free one (default: 11211)"),
    spec(Flag::UdpPort, Some('U'), "udp-port", Some("num"), "UDP port; -1 any free one (default: 0, off)"),
    spec(Flag::UnixSocket, Some('s'), "unix-socket", Some("file"), "listen on this Unix socket and on no address"),
    spec(Flag::UnixMask, Some('a'), "unix-mask", Some("mask"), "mode of that socket, octal (default: 700)"),
    spec(Flag::Shutdown, Some('A'), "enable-shutdown", None, "obey the command \"shutdown\""),
    spec(Flag::Listen, Some('l'), "listen", Some("addr"), "address to listen on, HOST or HOST:PORT, or\n/PATH of a Unix socket; proto[NAME]: and tag[T]:\nmay stand before it; comma-separated or repeated\n(default: any)"),
    spec(Flag::Daemon, Some('d'), "daemon", None, "run in the background"),
    spec(Flag::Coredumps, Some('r'), "enable-coredumps", None, "raise the limit on core files"),
    spec(Flag::User, Some('u'), "user", Some("user"), "become this user when started as root"),
    spec(Flag::Memory, Some('m'), "memory-limit", Some("num"), "memory for items in megabytes (default: 64)"),
    spec(Flag::NoEvictions, Some('M'), "disable-evictions", None, "refuse writes when memory is full, evict nothing"),
    spec(Flag::Connections, Some('c'), "conn-limit", Some("num"), "simultaneous connections (default: 1024)"),
    spec(Flag::LockMemory, Some('k'), "lock-memory", None, "keep all pages in memory"),
    spec(Flag::Verbose, Some('v'), "verbose", None, "log errors; -vv commands and replies too,\n-vvv state changes too"),
    spec(Flag::Help, Some('h'), "help", None, "print this and exit"),
    spec(Flag::License, Some('i'), "license", None, "print the licence and exit"),
    spec(Flag::Version, Some('V'), "version", None, "print the version and exit"),
    spec(Flag::PidFile, Some('P'), "pidfile", Some("file"), "write the process id to this file"),
    spec(Flag::GrowthFactor, Some('f'), "slab-growth-factor", Some("num"), "factor from one slab class to the next\n(default: 1.25)"),
    spec(Flag::ChunkSize, Some('n'), "slab-min-size", Some("bytes"), "least space for key, value and flags\n(default: 48)"),
    spec(Flag::Threads, Some('t'), "threads", Some("num"), "worker threads (default: 4)"),
    spec(Flag::Requests, Some('R'), "max-reqs-per-event", Some("num"), "requests served on a connection before others\nhave their turn (default: 20)"),
    spec(Flag::NoCas, Some('C'), "disable-cas", None, "keep no CAS values for clients"),
    spec(Flag::Backlog, Some('b'), "listen-backlog", Some("num"), "connections that may wait (default: 1024)"),
    spec(Flag::Protocol, Some('B'), "protocol", Some("name"), "auto, ascii or binary (default: auto)"),
    spec(Flag::ItemSize, Some('I'), "max-item-size", Some("num"), "largest item, bytes or with k or m\n(default: 1m, from 1k to 1024m)"),
    spec(Flag::NoFlush, Some('F'), "disable-flush-all", None, "refuse flush_all"),
    spec(Flag::NoDump, Some('X'), "disable-dumping", None, "refuse dumps of keys; but -X PORT and\n-X LISTEN:CONNECT are --replication-port"),
    spec(Flag::NoWatch, Some('W'), "disable-watch", None, "refuse watch"),
    spec(Flag::LargePages, Some('L'), "enable-largepages", None, "have huge pages behind items, where there are any"),
    spec(Flag::NapiIds, Some('N'), "napi-ids", Some("num"), "no effect: connections are dealt out in turn"),
    spec(Flag::MemoryFile, Some('e'), "memory-file", Some("file"), "save items in this file on SIGUSR1 and \"shutdown\ngraceful\", and load them when started"),
    spec(Flag::Extended, Some('o'), "extended", Some("list"), "comma-separated; maxconns_fast (default) or\nno_maxconns_fast: send surplus clients away,\nor let them wait; idle_timeout=num: send clients\naway after so many idle seconds (default: 0,\nnever); relaxed_privileges: obey debugtime;\nwatcher_logbuf_size=num (default: 256) and\nworker_logbuf_size=num (default: 64): kilobytes\nof lines that wait for \"watch\"; track_sizes: have\n\"stats sizes\" count the items;\nothers are checked and have no effect"),
    spec(Flag::Sasl, Some('S'), "enable-sasl", None, "let only in who logs in by SASL, with a password in\nthe file named by MEMCACHED_SASL_PWDB; binary\nprotocol only"),
    spec(Flag::Tls, Some('Z'), "enable-ssl", None, "serve TLS, with the files of -o ssl_chain_cert=file\nand ssl_key=file; see paircached(8) for ssl_*"),
    spec(Flag::AuthFile, Some('Y'), "auth-file", Some("file"), "let only in who logs in with a user:password that\nis a line of this file; text protocol only"),
    // It has no long name; its letter stands in for one.
    spec(Flag::Delimiter, Some('D'), "D", Some("char"), "count by the prefixes of keys that end before this\ncharacter, for \"stats detail\" (default: off, :)"),
    spec(Flag::Peer, Some('x'), "peer", Some("host"), "replicate to this host, HOST or HOST:PORT"),
    spec(Flag::ReplicationPort, None, "replication-port", Some("port"), "PORT both nodes replicate on, or LISTEN:CONNECT\nwhere they differ (default: 11212)"),
    spec(Flag::SecretFile, None, "secret-file", Some("file"), "file of a secret that the peer must know too:\nthe link is sealed with it"),
    spec(Flag::Sysconfig, None, "sysconfig", Some("file"), "read this for /etc/sysconfig/memcached;\nmay be repeated; -FILE may be missing"),
    spec(Flag::Config, None, "config", Some("file"), "read this for /etc/paircached/paircached.toml;\n-FILE may be missing"),
    spec(Flag::CheckConfig, None, "check-config", None, "print every setting and where it is from, or every\nfault of the configuration, and exit"),
];

/// The option as a user would write it, such as `-p` or `--config`.
pub(in crate::config) fn name(flag: Flag) -> String {
    match SPECS.iter().find(|spec| spec.flag == flag) {
        Some(Spec { short: Some(short), .. }) => format!("-{short}"),
        Some(spec) => format!("--{}", spec.long),
        None => String::new(),
    }
}

/// Text of `-h`.
pub(in crate::config) fn help() -> String {
    const COLUMN: usize = 30;
    let mut text = format!(
        "paircached {} (memcached {} compatible)\n",
        env!("CARGO_PKG_VERSION"),
        crate::command::MEMCACHED_VERSION
    );
    for spec in SPECS.iter().filter(|spec| !spec.help.is_empty()) {
        let mut left = spec.usage();
        for line in spec.help.lines() {
            let gap = COLUMN.saturating_sub(left.len()).max(1);
            text.push_str(&format!("{left}{:gap$}{line}\n", ""));
            left.clear();
        }
    }
    text
}
