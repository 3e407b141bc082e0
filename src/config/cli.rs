//! The command line as memcached reads it: options anywhere, left-over words no error.

mod flags;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::value::Complaint;
use flags::SPECS;

pub(super) use flags::{Flag, help, name};

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
