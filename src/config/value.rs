//! Single values: numbers, sizes, ports. What is wrong with one is a [`Complaint`].

use super::{AtomicOps, Facility, LogTarget, NodeName, Port, Protocol};
use crate::replication::Mode;

/// What is wrong with a value or an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Exit code when it stands on the command line.
    pub(super) code: u8,
    /// What is wrong, in memcached's words where it has some; perhaps several lines.
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: String,
    /// Lines around it on the command line.
    frame: Option<Box<str>>,
    /// memcached's words, where those here say more; scripts may look for them.
    theirs: Option<Box<str>>,
    /// memcached says it on standard output.
    stdout: bool,
}

impl Complaint {
    pub(super) fn new(code: u8, what: impl Into<String>, remedy: impl Into<String>) -> Complaint {
        let (what, remedy) = (what.into(), remedy.into());
        Complaint { code, what, remedy, frame: None, theirs: None, stdout: false }
    }

    /// As getopt words it: the program's name in front, and memcached's own line after it.
    pub(super) fn with_getopt_frame(mut self, program: &str) -> Complaint {
        self.frame = Some(program.into());
        self
    }

    /// Has memcached's words before these on the command line.
    pub(super) fn after(mut self, theirs: impl Into<Box<str>>) -> Complaint {
        self.theirs = Some(theirs.into());
        self
    }

    /// As memcached does where it forgets that it is an error.
    pub(super) fn on_stdout(mut self) -> Complaint {
        self.stdout = true;
        self
    }

    /// For standard output, when the command line is at fault.
    pub(super) fn stdout(&self) -> String {
        if self.stdout { format!("{}\n", self.what) } else { String::new() }
    }

    /// For standard error, when the command line is at fault.
    pub(super) fn stderr(&self) -> String {
        match &self.frame {
            _ if self.stdout => String::new(),
            Some(program) => format!("{program}: {}\nIllegal argument \"?\"\n", self.what),
            None => {
                let theirs = self.theirs.iter().map(|theirs| format!("{theirs}\n"));
                theirs.chain([format!("{}\n", self.what)]).collect()
            }
        }
    }

    /// For the report on files: one line.
    pub(super) fn line(&self) -> String {
        let what = self.what.trim_start_matches("ERROR: ").trim_end_matches('.');
        let what = what.replace("\n ", " ").replace('\n', ", ");
        format!("{what}; {}", self.remedy)
    }
}

pub(super) type Checked<T> = Result<T, Complaint>;

const USAGE: u8 = 64;
const MEGABYTE: u64 = 1 << 20;

/// A whole number above zero; `message` is memcached's for the others.
pub(super) fn positive(text: &str, message: &str) -> Checked<u32> {
    match text.trim().parse::<i32>() {
        Ok(number) if number > 0 => Ok(number.unsigned_abs()),
        _ => Err(Complaint::new(1, message, "write a whole number above 0")),
    }
}

/// `-b`; below zero is as many as the system allows.
pub(super) fn backlog(text: &str) -> Checked<u32> {
    match text.trim().parse::<i32>() {
        Ok(number) => Ok(u32::try_from(number).unwrap_or(i32::MAX.unsigned_abs())),
        Err(_) => Err(Complaint::new(
            USAGE,
            format!("Listen backlog must be a whole number, not {text:?}."),
            "write a whole number, 0 or more",
        )),
    }
}

/// The number that `text` begins with, and whether something stands behind it that is ignored, as
/// memcached does with that of `1024m`.
pub(super) fn in_front(text: &str, decimal: bool) -> (&str, bool) {
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let mut points = usize::from(decimal);
    let behind = digits.find(|c: char| {
        let point = c == '.' && points > 0;
        points -= usize::from(point);
        !point && !c.is_ascii_digit()
    });
    match behind {
        Some(at) if digits[..at].contains(|c: char| c.is_ascii_digit()) => {
            (&trimmed[..trimmed.len() - digits.len() + at], true)
        }
        _ => (text, false),
    }
}

/// `-p` and `-U`: 0 is off, -1 the system's choice.
pub(super) fn port(text: &str) -> Checked<Port> {
    match text.trim().parse::<i64>() {
        Ok(0) => return Ok(Port::Off),
        Ok(-1) => return Ok(Port::Ephemeral),
        Ok(number) => {
            if let Ok(number) = u16::try_from(number) {
                return Ok(Port::Number(number));
            }
        }
        Err(_) => {}
    }
    Err(Complaint::new(
        USAGE,
        format!("ERROR: Invalid port number {text}."),
        "write a number from 1 to 65535, 0 for none, or -1 for any free one",
    ))
}

/// A port that must be known beforehand.
pub(super) fn fixed_port(text: &str) -> Checked<u16> {
    match text.trim().parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Complaint::new(
            USAGE,
            format!("ERROR: Invalid port number {text}."),
            "write a number from 1 to 65535",
        )),
    }
}

/// `PORT` or `LISTEN:CONNECT`.
pub(super) fn replication_ports(text: &str) -> Checked<(u16, Option<u16>)> {
    match text.split_once(':') {
        Some((listen, connect)) => Ok((fixed_port(listen)?, Some(fixed_port(connect)?))),
        None => Ok((fixed_port(text)?, None)),
    }
}

/// `-m`: megabytes, returned as bytes.
pub(super) fn memory(text: &str) -> Checked<u64> {
    // Bytes beyond what an address can hold are a slip of the finger.
    match text.trim().parse::<u64>() {
        Ok(number) if (1..=(1 << 43)).contains(&number) => Ok(number * MEGABYTE),
        Ok(0) | Err(_) => Err(Complaint::new(
            USAGE,
            format!("Memory limit must be a number of megabytes greater than 0, not {text:?}."),
            "write the megabytes for items, such as 64",
        )
        .after("Cannot set item size limit higher than 1/2 of memory max.")),
        Ok(_) => Err(Complaint::new(
            USAGE,
            format!("Memory limit of {text} megabytes is more than any machine has."),
            "write the megabytes for items, such as 64",
        )),
    }
}

/// `-I`, `tombstone_memory` and `window`: bytes, or a number with k, m or g.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], MEGABYTE),
        b'g' | b'G' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// The largest item; what suits the memory is checked when both are known.
pub(super) fn item_size(text: &str) -> Checked<u64> {
    size(text).ok_or_else(|| {
        Complaint::new(
            USAGE,
            format!("Item max size must be a number of bytes, perhaps with k or m, not {text:?}."),
            "write a size such as 1m",
        )
        .after("Item max size cannot be less than 1024 bytes.")
    })
}

/// `-f`.
pub(super) fn growth_factor(text: &str) -> Checked<f64> {
    match text.trim().parse::<f64>() {
        Ok(number) if number > 1.0 && number.is_finite() => Ok(number),
        _ => Err(Complaint::new(
            1,
            "Factor must be greater than 1",
            "write a number above 1, such as 1.25",
        )),
    }
}

/// `-a`.
pub(super) fn mode(text: &str) -> Checked<u32> {
    match u32::from_str_radix(text.trim(), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(Complaint::new(
            USAGE,
            format!("Unix socket mask must be octal, from 0 to 777, not {text:?}."),
            "write a mode such as 700",
        )),
    }
}

/// `-B`.
pub(super) fn protocol(text: &str) -> Checked<Protocol> {
    match text {
        "auto" => Ok(Protocol::Auto),
        "ascii" => Ok(Protocol::Ascii),
        "binary" => Ok(Protocol::Binary),
        _ => Err(Complaint::new(
            USAGE,
            format!(
                "Invalid value for binding protocol: {text}\n -- should be one of auto, binary, or ascii"
            ),
            "write one of these three",
        )),
    }
}

/// The value that `text` names in a list of names, or the list of them.
pub(super) fn one_of<T: Copy>(names: &[(&str, T)], text: &str) -> Result<T, String> {
    match names.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let names: Vec<String> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
            Err(names.join(", "))
        }
    }
}

/// The name of `value` in a list of names.
pub(super) fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

pub(super) static PROTOCOLS: [(&str, Protocol); 3] =
    [("auto", Protocol::Auto), ("ascii", Protocol::Ascii), ("binary", Protocol::Binary)];

pub(super) static NODES: [(&str, NodeName); 3] =
    [("auto", NodeName::Auto), ("a", NodeName::A), ("b", NodeName::B)];

pub(super) static ATOMIC_OPS: [(&str, AtomicOps); 3] = [
    ("local", AtomicOps::Local),
    ("owner", AtomicOps::Owner),
    ("owner-or-error", AtomicOps::OwnerOrError),
];

pub(super) static MODES: [(&str, Mode); 3] =
    [("async", Mode::Async), ("semi-sync", Mode::SemiSync), ("strict", Mode::Strict)];

pub(super) static TARGETS: [(&str, LogTarget); 3] =
    [("auto", LogTarget::Auto), ("stderr", LogTarget::Stderr), ("syslog", LogTarget::Syslog)];

pub(super) static LEVELS: [(&str, log::LevelFilter); 4] = [
    ("error", log::LevelFilter::Error),
    ("warn", log::LevelFilter::Warn),
    ("info", log::LevelFilter::Info),
    ("debug", log::LevelFilter::Debug),
];

pub(super) static FACILITIES: [(&str, Facility); 13] = [
    ("user", Facility::User),
    ("daemon", Facility::Daemon),
    ("auth", Facility::Auth),
    ("authpriv", Facility::Authpriv),
    ("cron", Facility::Cron),
    ("local0", Facility::Local0),
    ("local1", Facility::Local1),
    ("local2", Facility::Local2),
    ("local3", Facility::Local3),
    ("local4", Facility::Local4),
    ("local5", Facility::Local5),
    ("local6", Facility::Local6),
    ("local7", Facility::Local7),
];
