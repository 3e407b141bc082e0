//! From words and files to an [`Action`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::cli::{self, Flag, Words};
use super::settings::{self, Settings};
use super::source::Source;
use super::sysconfig::{self, Assignment};
use super::value::Complaint;
use super::{Action, Config, Exit, SourceFile, Sources};
use super::{auth, check, link_tls, secret_file, show, toml_file};
use crate::replication::{Seal, secret};

const SYSCONFIG: &str = "/etc/sysconfig/memcached";
const TOML: &str = "/etc/paircached/paircached.toml";
const LICENSE: &str = include_str!("../../LICENSE");

/// Names the file of passwords for `-S`, as for memcached.
const SASL_FILE: &str = "MEMCACHED_SASL_PWDB";

/// Reads the command line, whose first word is the program's name, and the files.
///
/// # Errors
/// What to print and to exit with when the command line or a file is at fault.
pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Action, Exit> {
    let directory = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let argv: Vec<OsString> = args.into_iter().collect();
    load_from(&argv, &directory, None)
}

/// Reads everything again.
pub(super) fn reload(sources: &Sources) -> Result<Box<Config>, Exit> {
    match load_from(&sources.argv, &sources.directory, Some(sources))? {
        Action::Run(config) => Ok(config),
        // Not reachable: the same words ran the daemon.
        Action::Print(text) => Err(Exit { stdout: text, stderr: String::new(), code: 0 }),
    }
}

/// Without sources from before, what seals the link is read and looked for too: later the rights
/// for it may be gone.
fn load_from(
    argv: &[OsString],
    directory: &Path,
    before: Option<&Sources>,
) -> Result<Action, Exit> {
    let program = argv.first().map_or("paircached".into(), |word| word.to_string_lossy());
    let words = argv.get(1..).unwrap_or_default();
    let words = cli::parse(&program, words).map_err(|complaint| Exit::command_line(&complaint))?;
    if let Some(text) = information(&words) {
        return Ok(Action::Print(text));
    }
    for flag in [Flag::Sysconfig, Flag::Config] {
        if words.values(flag).any(|path| path.is_empty() || path == "-") {
            return Err(Exit::command_line(&settings::empty(flag)));
        }
    }
    let sources = Sources {
        sysconfig: sysconfig_files(&words),
        toml: source_file(words.values(Flag::Config).last(), TOML),
        directory: directory.to_path_buf(),
        argv: argv.to_vec(),
        credential: match before {
            Some(before) => before.credential.clone(),
            None => secret_file::credential(),
        },
    };

    let mut settings = Settings::default();
    let mut faults = Vec::new();
    read_toml(&sources, &mut settings, &mut faults);
    for file in &sources.sysconfig {
        read_sysconfig(&sources, file, &mut settings, &mut faults);
    }
    if let Some(file) = env::var_os(SASL_FILE).filter(|file| !file.is_empty()) {
        settings.sasl_file.put(Some(file.into()), &Source::Environment(SASL_FILE));
    }
    if let Some((_, complaint)) = settings.apply_words(&words, &Source::CommandLine).first() {
        return Err(Exit::command_line(complaint));
    }
    secret_file::locate(&mut settings, directory, sources.credential.as_deref());
    settings.link_tls.locate(directory);
    let mut found = check::check(&mut settings);
    let seal = match before {
        None => read_seal(&settings).unwrap_or_else(|complaint| {
            found.push(complaint);
            Seal::None
        }),
        Some(_) => Seal::None,
    };
    for (source, complaint) in found {
        match source {
            Source::File(path, line) => faults.push(fault(&path, line, &complaint.line())),
            // A file may also be what makes it wrong, so its faults come first.
            _ if faults.is_empty() => return Err(Exit::command_line(&complaint)),
            _ => faults.push(complaint.line()),
        }
    }
    if !faults.is_empty() {
        return Err(Exit::faults(&faults));
    }
    if words.has(Flag::CheckConfig) {
        if let Some(file) = auth::file(&settings) {
            settings.warnings.extend(file.read(directory)?.1);
        }
        return Ok(Action::Print(show::show(&settings)));
    }
    Ok(Action::Run(Box::new(check::finish(settings, seal, sources))))
}

/// What seals the link, from the files that are named.
fn read_seal(settings: &Settings) -> Result<Seal, (Source, Complaint)> {
    if settings.peer.value.is_none() {
        return Ok(Seal::None);
    }
    if let Some(secret) = secret_file::read(settings)? {
        return Ok(Seal::Secret(Arc::new(secret::Current::new(secret))));
    }
    Ok(link_tls::read(settings)?.map_or(Seal::None, Seal::Certificates))
}

fn information(words: &Words) -> Option<String> {
    if words.has(Flag::Help) {
        Some(cli::help())
    } else if words.has(Flag::License) {
        Some(String::from(LICENSE))
    } else if words.has(Flag::Version) {
        let (own, theirs) = (env!("CARGO_PKG_VERSION"), crate::command::MEMCACHED_VERSION);
        // Scripts take the second word of the first line for the version.
        Some(format!("memcached {theirs}\npaircached {own}\n"))
    } else {
        None
    }
}

fn fault(path: &str, line: usize, what: &str) -> String {
    format!("{path}:{line}: {what}")
}

fn sysconfig_files(words: &Words) -> Vec<SourceFile> {
    let files: Vec<SourceFile> =
        words.values(Flag::Sysconfig).map(|word| source_file(Some(word), "")).collect();
    match files.is_empty() {
        true => vec![source_file(None, SYSCONFIG)],
        false => files,
    }
}

fn source_file(word: Option<&OsStr>, default: &str) -> SourceFile {
    let Some(word) = word else {
        return SourceFile { path: PathBuf::from(default), optional: true };
    };
    match word.as_bytes().strip_prefix(b"-") {
        Some(path) => SourceFile { path: OsStr::from_bytes(path).into(), optional: true },
        None => SourceFile { path: word.into(), optional: false },
    }
}

/// The file's text, if there is one, and its name for messages.
fn read(
    sources: &Sources,
    file: &SourceFile,
    faults: &mut Vec<String>,
) -> Option<(Rc<str>, String)> {
    let name = Rc::from(file.path.to_string_lossy());
    let bytes = match std::fs::read(sources.directory.join(&file.path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.optional => return None,
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => "create it, or write -FILE for one that may be missing",
                _ => "make it a readable file, or name another one",
            };
            faults.push(format!("{name}: cannot be read: {error}; {remedy}"));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some((name, text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
            faults.push(fault(&name, line, "not valid UTF-8; write the file in UTF-8"));
            None
        }
    }
}

fn read_toml(sources: &Sources, settings: &mut Settings, faults: &mut Vec<String>) {
    let Some((name, text)) = read(sources, &sources.toml, faults) else {
        return;
    };
    for (line, what) in toml_file::apply(&text, &name, settings) {
        faults.push(fault(&name, line, &what));
    }
}

fn read_sysconfig(
    sources: &Sources,
    file: &SourceFile,
    settings: &mut Settings,
    faults: &mut Vec<String>,
) {
    let Some((name, text)) = read(sources, file, faults) else {
        return;
    };
    let parsed = sysconfig::parse(&text);
    let mut found: Vec<(usize, String)> = parsed.faults;
    for (line, what) in parsed.warnings {
        settings.warnings.push(fault(&name, line, &what));
    }
    // OPTIONS comes last in the unit's command line and wins, wherever it stands in the file.
    let last = |name: &str| parsed.assignments.iter().rfind(|assignment| assignment.name == name);
    for (variable, flag) in [
        ("PORT", Flag::Port),
        ("USER", Flag::User),
        ("MAXCONN", Flag::Connections),
        ("CACHESIZE", Flag::Memory),
    ] {
        let Some(assignment) = last(variable).filter(|found| !found.value.trim().is_empty()) else {
            continue;
        };
        let source = Source::File(name.clone(), assignment.line);
        let value = OsStr::new(assignment.value.trim());
        if let Err(complaint) = settings.apply(flag, value, &source) {
            let value = &assignment.value;
            found.push((assignment.line, format!("{variable}={value:?}: {}", complaint.line())));
        }
    }
    if let Some(options) = last("OPTIONS") {
        let source = Source::File(name.clone(), options.line);
        let wrong = apply_options(options, &source, settings);
        found.extend(wrong.into_iter().map(|what| (options.line, format!("OPTIONS: {what}"))));
    }
    found.sort_by_key(|(line, _)| *line);
    faults.extend(found.into_iter().map(|(line, what)| fault(&name, line, &what)));
}

fn apply_options(options: &Assignment, source: &Source, settings: &mut Settings) -> Vec<String> {
    let words = match sysconfig::split(&options.value) {
        Ok(words) => words,
        Err(what) => return vec![what],
    };
    let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let words = match cli::parse("", &words) {
        Ok(words) => words,
        Err(complaint) => return vec![complaint.line()],
    };
    let mut wrong = Vec::new();
    for flag in
        [Flag::Help, Flag::License, Flag::Version, Flag::Sysconfig, Flag::Config, Flag::CheckConfig]
    {
        if words.has(flag) {
            let name = cli::name(flag);
            wrong.push(format!("{name} has no place in a file; give it on the command line"));
        }
    }
    for (flag, complaint) in settings.apply_words(&words, source) {
        wrong.push(format!("{}: {}", cli::name(flag), complaint.line()));
    }
    wrong
}
