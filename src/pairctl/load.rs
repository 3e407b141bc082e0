//! `load`: brings a dump back.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::Conversation;
use super::record::{Reader, Record};
use super::server::Server;
use super::{Outcome, UNREACHABLE};

/// How long a server may take for a batch.
const PATIENCE: Duration = Duration::from_secs(60);
/// Items, and bytes of them, that are sent before the answers are read.
const BATCH: (usize, usize) = (256, 256 << 10);

/// What to load.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// The dump; - is standard input
    file: PathBuf,
    /// Node, in place of -s
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) node: Option<Server>,
    /// Replace what is there: without this an item whose key is there already is left out
    #[arg(long)]
    overwrite: bool,
}

#[derive(Default)]
struct Counts {
    stored: u64,
    there: u64,
    expired: u64,
    errors: u64,
    /// What the first error was.
    reason: Option<String>,
}

/// Stores every item of the dump.
pub(crate) fn load(server: &Server, load: &Load) -> Outcome {
    let (name, input, size) = match open(load) {
        Ok(opened) => opened,
        Err(what) => return (String::new(), format!("pairctl: {what}\n"), 1),
    };
    let bar = progress(size);
    let mut counts = Counts::default();
    let done = Conversation::open(server, PATIENCE)
        .map_err(|what| (what, UNREACHABLE))
        .and_then(|node| store(node, Reader::new(BufReader::new(input)), load, &bar, &mut counts));
    bar.finish_and_clear();
    let Counts { stored, there, expired, errors, .. } = counts;
    let output =
        format!("stored {stored}, already there {there}, expired {expired}, errors {errors}\n");
    let mut said = String::new();
    if let Some(reason) = counts.reason {
        said = format!("pairctl: {server}: {errors} errors, the first: {reason}\n");
    }
    match done {
        Ok(()) => (output, said, u8::from(errors > 0)),
        Err((what, UNREACHABLE)) => (output, format!("{said}pairctl: {what}\n"), UNREACHABLE),
        Err((what, code)) => {
            (output, format!("{said}pairctl: {name}: {what}; loading stopped there\n"), code)
        }
    }
}

/// Name, contents, and length if that is known.
type Opened = (String, Box<dyn Read>, Option<u64>);

fn open(load: &Load) -> Result<Opened, String> {
    if load.file.as_os_str() == "-" {
        return Ok((String::from("standard input"), Box::new(io::stdin()), None));
    }
    let name = load.file.display().to_string();
    let file = File::open(&load.file).map_err(|error| format!("cannot open {name}: {error}"))?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
    Ok((name, Box::new(file), size))
}

/// On a terminal only: elsewhere indicatif draws nothing.
fn progress(size: Option<u64>) -> ProgressBar {
    let style = "{wide_bar} {bytes}/{total_bytes} {eta}";
    match (size, ProgressStyle::with_template(style)) {
        (Some(size), Ok(style)) => ProgressBar::new(size).with_style(style),
        _ => ProgressBar::no_length(),
    }
}

/// Stores all, batch by batch; an error comes with its exit code.
fn store<R: io::BufRead>(
    mut node: Conversation<'_>,
    mut dump: Reader<R>,
    load: &Load,
    bar: &ProgressBar,
    counts: &mut Counts,
) -> Result<(), (String, u8)> {
    loop {
        let (mut batch, mut sent) = (Vec::new(), Vec::new());
        let read = loop {
            if sent.len() >= BATCH.0 || batch.len() >= BATCH.1 {
                break Ok(true);
            }
            match dump.next() {
                Ok(Some(record)) if record.has_expired(now()) => counts.expired += 1,
                Ok(Some(record)) => {
                    // A vector takes everything.
                    let _ = record.write(&mut batch, load.overwrite);
                    sent.push(Record { value: Vec::new(), ..record });
                }
                Ok(None) => break Ok(false),
                Err(what) => break Err(what),
            }
        };
        let answered = node.send(&batch).and_then(|()| {
            sent.iter().try_for_each(|record| {
                counts.take(record, &node.line()?);
                Ok(())
            })
        });
        answered.map_err(|what| (what, UNREACHABLE))?;
        bar.set_position(dump.position);
        if !read.map_err(|what| (what, 1))? {
            return Ok(());
        }
    }
}

fn now() -> i64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_secs()).unwrap_or(i64::MAX)
}

impl Counts {
    fn take(&mut self, record: &Record, answer: &[u8]) {
        let word = answer.split(|&byte| byte == b' ').next().unwrap_or_default();
        match word {
            b"STORED" | b"HD" => self.stored += 1,
            b"NOT_STORED" | b"NS" => self.there += 1,
            _ => {
                self.errors += 1;
                self.reason.get_or_insert_with(|| {
                    let text = |bytes| {
                        String::from_utf8_lossy(bytes).chars().take(250).collect::<String>()
                    };
                    format!("{:?} to the key {:?}", text(answer), text(&record.key))
                });
            }
        }
    }
}
