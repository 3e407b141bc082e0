//! Who has to log in, and the file with the passwords.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::settings::Settings;
use super::source::Source;
use super::value::Complaint;
use super::{Exit, Port, Protocol};
use crate::command::{PasswordFormat, Passwords};

const FAILURE: u8 = 1;
const USAGE: u8 = 64;
/// Largest password file, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// Mode of a file that every user of the host may read.
const READABLE_BY_ALL: u32 = 0o004;

/// A file with passwords that clients have to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFile {
    /// As given, perhaps relative to where the daemon was started.
    path: PathBuf,
    format: PasswordFormat,
    /// File and line that name it, unless the command line does.
    named_in: Option<String>,
}

/// Says what does not go together, and settles which protocol is spoken.
pub(super) fn check(settings: &mut Settings) -> Option<(Source, Complaint)> {
    let wrong = |source: &Source, what: &str, remedy: &str| {
        Some((source.clone(), Complaint::new(USAGE, what, remedy)))
    };
    let chosen =
        Some(settings.protocol.value).filter(|_| settings.protocol.source != Source::Default);
    let udp = settings.udp_port.value != Port::Off;
    let (sasl, text) = (settings.sasl.clone(), settings.ascii_file.clone());
    if sasl.value {
        if chosen.is_some_and(|protocol| protocol != Protocol::Binary) {
            let what = "ERROR: You cannot allow the ASCII protocol while using SASL.";
            return wrong(&sasl.source, what, "write -B binary, or leave -B out");
        }
        if udp {
            let what = "ERROR: Cannot enable UDP while using binary SASL authentication.";
            return wrong(&sasl.source, what, "leave -U out");
        }
        if settings.sasl_file.value.is_none() && text.value.is_none() {
            let what = "-S needs a file with passwords: MEMCACHED_SASL_PWDB=FILE in the \
                        environment, or sasl_file in [auth] of the TOML file";
            let complaint = Complaint::new(FAILURE, what, "name one with lines user:password");
            return Some((sasl.source, complaint.after("Error initializing sasl.")));
        }
        settings.protocol.put(Protocol::Binary, &sasl.source);
    }
    if text.value.is_some() {
        if chosen.is_some_and(|protocol| protocol != Protocol::Ascii) {
            let what = "ERROR: You cannot allow the BINARY protocol while using ascii \
                        authentication tokens.";
            return wrong(&text.source, what, "write -B ascii, or leave -B out");
        }
        if udp {
            let what = "Cannot use UDP with ascii authentication enabled (-U 0 to disable)";
            return wrong(&text.source, what, "leave -U out");
        }
        settings.protocol.put(Protocol::Ascii, &text.source);
    }
    None
}

/// The file that counts: with both kinds memcached speaks the text protocol only.
pub(super) fn file(settings: &Settings) -> Option<PasswordFile> {
    let (set, format) = match (&settings.ascii_file, &settings.sasl_file) {
        (text, _) if text.value.is_some() => (text, PasswordFormat::Text),
        (_, sasl) if settings.sasl.value => (sasl, PasswordFormat::Sasl),
        _ => return None,
    };
    let named_in = match &set.source {
        Source::File(..) => Some(set.source.to_string()),
        _ => None,
    };
    set.value.clone().map(|path| PasswordFile { path, format, named_in })
}

impl PasswordFile {
    /// Reads it, and warns of what is not as it should be. A relative path starts from `directory`.
    ///
    /// # Errors
    /// What to print and to exit with when it can't be read, or a line is no `user:password`.
    pub fn read(&self, directory: &Path) -> Result<(Passwords, Vec<String>), Exit> {
        let name = self.path.display();
        let text = read(&directory.join(&self.path)).map_err(|error| {
            let reason = error.raw_os_error().map_or_else(
                || error.to_string(),
                |number| nix::errno::Errno::from_raw(number).desc().to_owned(),
            );
            let what = format!("Could not open authfile [{name}] for reading, error {reason}");
            let remedy = "make it a file that the daemon's user may read";
            self.exit(&Complaint::new(FAILURE, what, remedy))
        })?;
        let passwords = Passwords::parse(&text.bytes, self.format).map_err(|line| {
            let theirs =
                format!("Authfile [{name}] has a malformed entry. Should be 'user:password'");
            let what =
                format!("line {line} of {name} is no user:password, or longer than 255 bytes");
            self.exit(&Complaint::new(FAILURE, what, "correct it").after(theirs))
        })?;
        let mut warnings = Vec::new();
        if text.mode & READABLE_BY_ALL != 0 {
            warnings.push(format!("{name}: every user of this host can read it; chmod o-r {name}"));
        }
        if passwords.ignored > 0 {
            let ignored = passwords.ignored;
            warnings.push(format!("{name}: too many entries; the last {ignored} are ignored"));
        }
        if passwords.is_empty() {
            warnings.push(format!("{name}: holds no entry; nobody can log in"));
        }
        Ok((passwords, warnings))
    }

    fn exit(&self, complaint: &Complaint) -> Exit {
        match &self.named_in {
            Some(place) => Exit::faults(&[format!("{place}: {}", complaint.line())]),
            None => Exit::command_line(complaint),
        }
    }
}

struct Text {
    bytes: Vec<u8>,
    mode: u32,
}

fn read(path: &Path) -> io::Result<Text> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::other("it is larger than a megabyte"));
    }
    Ok(Text { bytes, mode })
}
