//! The command line as memcached reads it: options anywhere, left-over words no error.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::value::Complaint;

/// Every option there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
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

struct Spec {
    flag: Flag,
    short: Option<char>,
    long: &'static str,
    value: Option<&'static str>,
    /// Empty for what `-h` keeps back: wrappers take its words for parts that are there.
    help: &'static str,
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
static SPECS: &[Spec] = &[
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
    spec(Flag::LargePages, Some('L'), "enable-largepages", None, "no effect: memory is taken as it is needed"),
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

/// What a row of words asks for.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Options in the order of `-h`; of a repeated one the last, but every `-l`, `-o` and
    /// `--sysconfig`.
    pub(super) given: Vec<(Flag, OsString)>,
    /// Words that belong to no option.
    pub(super) leftover: Vec<OsString>,
}

impl Words {
    /// Whether `flag` was given.
    pub(super) fn has(&self, flag: Flag) -> bool {
        self.given.iter().any(|(given, _)| *given == flag)
    }

    /// All values of `flag`.
    pub(super) fn values(&self, flag: Flag) -> impl Iterator<Item = &OsStr> {
        self.given.iter().filter(move |(given, _)| *given == flag).map(|(_, value)| &**value)
    }
}

/// The option as a user would write it, such as `-p` or `--config`.
pub(super) fn name(flag: Flag) -> String {
    match SPECS.iter().find(|spec| spec.flag == flag) {
        Some(Spec { short: Some(short), .. }) => format!("-{short}"),
        Some(spec) => format!("--{}", spec.long),
        None => String::new(),
    }
}

/// Reads `words`, which do not contain the program's name.
pub(super) fn parse(program: &str, words: &[OsString]) -> Result<Words, Complaint> {
    let words = split_replication_port(words);
    match command().try_get_matches_from(&words) {
        Ok(matches) => Ok(collect(&matches)),
        Err(error) => Err(complain(program, &words, &error)),
    }
}

/// The options as clap knows them, for parsing and for the completions of shells.
pub(super) fn command() -> Command {
    let mut command = Command::new("paircached")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .infer_long_args(true)
        .args_override_self(true);
    for spec in SPECS {
        let mut arg = Arg::new(spec.long).help(spec.help.replace('\n', " "));
        if matches!(spec.value, Some("file")) {
            arg = arg.value_hint(ValueHint::AnyPath);
        }
        if spec.long.len() > 1 {
            arg = arg.long(spec.long);
        }
        if let Some(short) = spec.short {
            arg = arg.short(short);
        }
        arg = match (spec.value, spec.flag) {
            (Some(value), _) => arg
                .value_name(value)
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .value_parser(ValueParser::os_string()),
            // memcached takes --verbose=ANYTHING
            (None, Flag::Verbose) => arg
                .action(ArgAction::Append)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("")
                .value_parser(ValueParser::os_string()),
            (None, _) => arg.action(ArgAction::SetTrue),
        };
        command = command.arg(arg);
    }
    let words = Arg::new("words").action(ArgAction::Append).num_args(0..);
    command.arg(words.value_parser(ValueParser::os_string()))
}

fn collect(matches: &ArgMatches) -> Words {
    let mut found = Words::default();
    for spec in SPECS {
        if spec.value.is_none() && spec.flag != Flag::Verbose {
            if matches.get_flag(spec.long) {
                found.given.push((spec.flag, OsString::new()));
            }
            continue;
        }
        let mut values: Vec<OsString> =
            matches.get_many(spec.long).into_iter().flatten().cloned().collect();
        match spec.flag {
            Flag::Verbose if !values.is_empty() => values = vec![values.len().to_string().into()],
            Flag::Listen | Flag::Sysconfig | Flag::Extended => {}
            _ => drop(values.drain(..values.len().saturating_sub(1))),
        }
        found.given.extend(values.into_iter().map(|value| (spec.flag, value)));
    }
    found.leftover = matches.get_many("words").into_iter().flatten().cloned().collect();
    found
}

/// `-X` is memcached's `--disable-dumping`, but followed by ports it is repcached's replication
/// port. No parser can be told so: rewrite the latter.
fn split_replication_port(words: &[OsString]) -> Vec<OsString> {
    let mut result = Vec::with_capacity(words.len());
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if word == "--" {
            result.push(word.clone());
            result.extend(words.cloned());
            break;
        }
        let Some((switches, attached)) = at_capital_x(word.as_bytes()) else {
            result.push(word.clone());
            continue;
        };
        let ports = if attached.is_empty() {
            words.next_if(|next| is_ports(next.as_bytes())).map(|next| next.as_bytes())
        } else {
            Some(attached).filter(|attached| is_ports(attached))
        };
        let Some(ports) = ports else {
            result.push(word.clone());
            continue;
        };
        if switches.len() > 1 {
            result.push(OsString::from_vec(switches.to_vec()));
        }
        let mut option = OsString::from("--replication-port=");
        option.push(OsStr::from_bytes(ports));
        result.push(option);
    }
    result
}

/// Splits `-dX16000` into `-d` and `16000`, if all before the X are options without a value.
fn at_capital_x(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|&byte| byte == b'X')?;
    let (switches, attached) = (&word[..at], &word[at + 1..]);
    let is_switch = |byte: &u8| {
        let short = Some(char::from(*byte));
        SPECS.iter().any(|spec| spec.short == short && spec.value.is_none())
    };
    let fits = switches.first() == Some(&b'-') && switches[1..].iter().all(is_switch);
    fits.then_some((switches, attached))
}

/// Digits, or digits:digits.
fn is_ports(word: &[u8]) -> bool {
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    match word.iter().position(|&byte| byte == b':') {
        Some(at) => digits(&word[..at]) && digits(&word[at + 1..]),
        None => digits(word),
    }
}

/// Says what getopt would have said.
fn complain(program: &str, words: &[OsString], error: &clap::Error) -> Complaint {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // "--port <num>" or "--port=x" or "-q"
    let arg = context(ContextKind::InvalidArg);
    let arg = arg.split([' ', '=']).next().unwrap_or_default();
    let last = words.last().map(|word| word.to_string_lossy()).unwrap_or_default();
    let short = SPECS.iter().find(|spec| spec.long == arg.trim_start_matches('-'));
    let what = match (error.kind(), short.and_then(|spec| spec.short)) {
        (ErrorKind::UnknownArgument, _) => unknown(arg),
        (ErrorKind::TooManyValues, _) => format!("option '{arg}' doesn't allow an argument"),
        (_, Some(short)) if !last.starts_with("--") => {
            format!("option requires an argument -- '{short}'")
        }
        _ => format!("option '{arg}' requires an argument"),
    };
    Complaint::new(1, what, "see paircached -h").with_getopt_frame(program)
}

fn unknown(arg: &str) -> String {
    let Some(long) = arg.strip_prefix("--") else {
        return format!("invalid option -- '{}'", arg.trim_start_matches('-'));
    };
    let candidates: Vec<String> = SPECS
        .iter()
        .filter(|spec| !long.is_empty() && spec.long.starts_with(long))
        .map(|spec| format!("'--{}'", spec.long))
        .collect();
    match candidates.len() {
        0 | 1 => format!("unrecognized option '{arg}'"),
        _ => format!("option '{arg}' is ambiguous; possibilities: {}", candidates.join(" ")),
    }
}

/// Text of `-h`.
pub(super) fn help() -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn given(line: &str) -> Vec<(Flag, String)> {
        let parsed = parse("paircached", &words(line)).unwrap();
        parsed.given.into_iter().map(|(f, v)| (f, v.into_string().unwrap())).collect()
    }

    fn fault(line: &str) -> String {
        parse("paircached", &words(line)).unwrap_err().stderr()
    }

    #[test]
    fn the_table_suits_clap() {
        command().debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere_and_the_last_one_wins() {
        assert_eq!(given("-p 1 >> x -p-1 2>&1"), [(Flag::Port, "-1".into())]);
        assert_eq!(given("-p -1"), [(Flag::Port, "-1".into())]);
        assert_eq!(given("--po=5"), [(Flag::Port, "5".into())]);
        assert_eq!(given("-d -d"), [(Flag::Daemon, String::new())]);
    }

    #[test]
    fn verbosity_is_counted_in_each_way_to_write_it() {
        assert_eq!(given("-vv -v --verbose --verb=x"), [(Flag::Verbose, "5".into())]);
        assert_eq!(given("-vvd"), [(Flag::Daemon, String::new()), (Flag::Verbose, "2".into())]);
    }

    #[test]
    fn listen_addresses_add_up() {
        assert_eq!(
            given("-l a --listen b"),
            [(Flag::Listen, "a".into()), (Flag::Listen, "b".into())]
        );
    }

    #[test]
    fn capital_x_takes_ports_and_nothing_else() {
        let port = |value: &str| (Flag::ReplicationPort, String::from(value));
        let dump = || (Flag::NoDump, String::new());
        assert_eq!(given("-X 16000"), [port("16000")]);
        assert_eq!(given("-X16000"), [port("16000")]);
        assert_eq!(given("-X 1:2"), [port("1:2")]);
        assert_eq!(given("-dX 1"), [(Flag::Daemon, String::new()), port("1")]);
        assert_eq!(given("-X"), [dump()]);
        assert_eq!(given("-X 1:"), [dump()]);
        assert_eq!(given("-X word"), [dump()]);
        assert_eq!(given("-X -d"), [(Flag::Daemon, String::new()), dump()]);
        assert_eq!(given("-Xd"), [(Flag::Daemon, String::new()), dump()]);
        assert_eq!(given("-X 7 -X"), [dump(), port("7")]);
    }

    #[test]
    fn faults_are_told_as_getopt_tells_them() {
        let frame = |what: &str| format!("paircached: {what}\nIllegal argument \"?\"\n");
        assert_eq!(fault("-q"), frame("invalid option -- 'q'"));
        assert_eq!(fault("-dq"), frame("invalid option -- 'q'"));
        assert_eq!(fault("--bogus"), frame("unrecognized option '--bogus'"));
        assert_eq!(fault("--bogus=1"), frame("unrecognized option '--bogus'"));
        assert_eq!(fault("-p"), frame("option requires an argument -- 'p'"));
        assert_eq!(fault("-dp"), frame("option requires an argument -- 'p'"));
        assert_eq!(fault("--port"), frame("option '--port' requires an argument"));
        assert_eq!(fault("--daemon=3"), frame("option '--daemon' doesn't allow an argument"));
        assert_eq!(
            fault("--li"),
            frame(
                "option '--li' is ambiguous; possibilities: '--listen' '--license' '--listen-backlog'"
            )
        );
        assert_eq!(fault("-D"), frame("option requires an argument -- 'D'"));
        assert_eq!(fault("--D=x"), frame("unrecognized option '--D'"));
    }

    #[test]
    fn left_over_words_are_kept_apart() {
        let parsed = parse("p", &words("-t 4 >> /var/log/x 2>&1 -d -- -q")).unwrap();
        assert_eq!(parsed.leftover, [">>", "/var/log/x", "2>&1", "-q"]);
        assert!(parsed.has(Flag::Daemon));
    }
}
