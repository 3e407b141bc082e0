//! Lines on their way from one thread that tells to the one that hands out.

use super::{Event, Streams};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest line, in bytes: a key of 250 bytes takes up to three times that.
const LINE_MAX: usize = 928;

/// Lines in the order they were told.
#[derive(Default)]
pub(super) struct Queue {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    number: u64,
    stream: Streams,
    /// Where in the text its line ends.
    end: usize,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether one more line fits into `limit` bytes, whatever it says.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        let entries = (self.entries.len() + 1) * size_of::<Entry>();
        self.text.len() + LINE_MAX + entries <= limit
    }

    /// Appends the line of an event.
    pub(super) fn push(&mut self, number: u64, event: &Event<'_>) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (time.as_secs(), time.subsec_micros());
        // Writing to memory does not fail.
        let _ = write!(self.text, "ts={seconds}.{micros} gid={number} ");
        event.write(&mut self.text);
        self.entries.push(Entry { number, stream: event.stream(), end: self.text.len() });
    }

    /// The lines, each with its number and its stream.
    pub(super) fn lines(&self) -> impl Iterator<Item = (u64, Streams, &[u8])> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let line = &self.text[start..entry.end];
            start = entry.end;
            (entry.number, entry.stream, line)
        })
    }

    /// Forgets all lines and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }
}
