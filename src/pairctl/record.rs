//! The format of a dump: the commands that store its items, as memcached-tool writes them. The value's
//! length is told before it, so it may hold anything.
//!
//! ```text
//! add KEY FLAGS EXPTIME LENGTH       ms BASE64-KEY LENGTH b F[FLAGS] T[EXPTIME] ME
//! VALUE                              VALUE
//! ```
//!
//! The second form is for keys that no line of the first can hold. EXPTIME is Unix time, 0 is never.

use std::io::{self, BufRead, Read, Write};

/// No line is longer.
const LINE_MAX: u64 = 2048;
/// No value is longer.
pub(crate) const VALUE_MAX: u64 = 1 << 30;
const KEY_MAX: usize = 250;
/// Beyond these seconds, 30 days, an expiry is a date.
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;
/// What memcached-tool says before the first item, in files that standard error went to as well.
const NOISE: &[u8] = b"Dumping memcache";

/// One item of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// As it stands in the line: in base64 where `encoded`.
    pub key: Vec<u8>,
    pub encoded: bool,
    pub flags: u32,
    pub exptime: i64,
    pub value: Vec<u8>,
}

/// Whether a line of the text protocol can hold this key.
pub(crate) fn is_plain(key: &[u8]) -> bool {
    key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

impl Record {
    /// Writes the command that stores it where its key is not there yet, or in any case.
    pub(crate) fn write(&self, out: &mut impl Write, overwrite: bool) -> io::Result<()> {
        let Record { key, encoded, flags, exptime, value } = self;
        if *encoded {
            let mode = if overwrite { 'S' } else { 'E' };
            out.write_all(b"ms ")?;
            out.write_all(key)?;
            write!(out, " {} b F{flags} T{exptime} M{mode}\r\n", value.len())?;
        } else {
            out.write_all(if overwrite { b"set " } else { b"add " })?;
            out.write_all(key)?;
            write!(out, " {flags} {exptime} {}\r\n", value.len())?;
        }
        out.write_all(value)?;
        out.write_all(b"\r\n")
    }

    /// Whether it would be gone as soon as it was stored, at `now` in Unix seconds.
    pub(crate) fn has_expired(&self, now: i64) -> bool {
        self.exptime < 0 || (self.exptime > RELATIVE_MAX && self.exptime <= now)
    }
}

/// Reads a dump.
pub(crate) struct Reader<R> {
    input: R,
    line: Vec<u8>,
    /// Bytes read so far.
    pub position: u64,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Reader<R> {
        Reader { input, line: Vec::new(), position: 0 }
    }

    /// The next item, if there is one; an error tells where and what is wrong.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, String> {
        loop {
            let at = self.position;
            self.line.clear();
            let read = self.input.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.line);
            self.position += read.map_err(|error| format!("cannot be read: {error}"))? as u64;
            if self.line.is_empty() {
                return Ok(None);
            }
            let line = self.line.trim_ascii_end();
            if line.is_empty() || line.starts_with(NOISE) {
                continue;
            }
            let wrong = |what: &str| format!("byte {at}: {what}");
            let (mut record, length) = header(line).ok_or_else(|| wrong("no command of a dump"))?;
            let read = self.input.by_ref().take(length).read_to_end(&mut record.value);
            let read = read.map_err(|error| format!("cannot be read: {error}"))? as u64;
            self.position += read;
            let mut end = [0; 2];
            if read < length || !self.ends_line(&mut end) {
                return Err(wrong("the value ends too early, or is longer than its line says"));
            }
            return Ok(Some(record));
        }
    }

    /// Takes the line end behind a value.
    fn ends_line(&mut self, end: &mut [u8; 2]) -> bool {
        let (first, second) = end.split_at_mut(1);
        if self.input.read_exact(first).is_err() {
            return false;
        }
        self.position += 1;
        if first == b"\n" {
            return true;
        }
        let read = first == b"\r" && self.input.read_exact(second).is_ok();
        self.position += u64::from(read);
        read && second == b"\n"
    }
}

/// The item that a line announces, without its value, and the value's length.
fn header(line: &[u8]) -> Option<(Record, u64)> {
    let words: Vec<&[u8]> =
        line.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let (record, length) = match words[..] {
        [b"add" | b"set", key, flags, exptime, length] if is_plain(key) => {
            let (flags, exptime) = (number(flags)?, number(exptime)?);
            (Record { key: key.to_vec(), flags, exptime, ..Record::default() }, number(length)?)
        }
        [b"ms", key, length, ref flags @ ..] => {
            let key = key.to_vec();
            let mut record = Record { key, ..Record::default() };
            for flag in flags {
                match *flag {
                    b"b" => record.encoded = true,
                    [b'F', flags @ ..] => record.flags = number(flags)?,
                    [b'T', exptime @ ..] => record.exptime = number(exptime)?,
                    [b'M', ..] => {}
                    _ => return None,
                }
            }
            if !record.encoded || !record.key.iter().all(is_base64) {
                return None;
            }
            (record, number(length)?)
        }
        _ => return None,
    };
    // Encoded keys are checked by whoever stores them.
    let fits = record.encoded || record.key.len() <= KEY_MAX;
    (fits && length <= VALUE_MAX).then_some((record, length))
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(dump: &[u8]) -> Result<Vec<Record>, String> {
        let mut reader = Reader::new(dump);
        let mut found = Vec::new();
        while let Some(record) = reader.next()? {
            found.push(record);
        }
        assert_eq!(reader.position, dump.len() as u64);
        Ok(found)
    }

    fn record() -> impl Strategy<Value = Record> {
        let key = prop_oneof![
            ("[!-~]{1,250}", Just(false)),
            (
                proptest::collection::vec(0x80u8.., 1..9)
                    .prop_map(|key| String::from_utf8_lossy(&key).into_owned()),
                Just(false)
            ),
            ("[A-Za-z0-9+/]{4,20}", Just(true)),
        ];
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "(\r\n|add k 0 0 1|ms a 1|END|STORED| ){0,9}".prop_map(String::into_bytes),
        ];
        (key, any::<u32>(), 0i64..1 << 40, value).prop_map(
            |((key, encoded), flags, exptime, value)| Record {
                key: key.into_bytes(),
                encoded,
                flags,
                exptime,
                value,
            },
        )
    }

    proptest! {
        #[test]
        fn a_dump_is_read_as_it_was_written(
            records in proptest::collection::vec(record(), 0..20), overwrite in any::<bool>(),
        ) {
            let mut dump = Vec::new();
            records.iter().for_each(|record| record.write(&mut dump, overwrite).unwrap());
            prop_assert_eq!(all(&dump).unwrap(), records);
        }

        #[test]
        fn a_dump_that_is_cut_inside_an_item_is_not_taken_for_a_whole_one(
            record in record(), cut in any::<prop::sample::Index>(),
        ) {
            let mut dump = Vec::new();
            record.write(&mut dump, false).unwrap();
            let cut = 1 + cut.index(dump.len() - 1);
            prop_assert!(all(&dump[..cut]).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(dump in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = all(&dump);
        }
    }

    #[test]
    fn what_no_dump_has_is_refused_and_told_where() {
        let good = b"add k 0 0 1\r\nx\r\n";
        for bad in [
            &b"flush_all\r\n"[..],
            b"add k 0 0\r\n",
            b"add k 0 0 -1\r\n",
            b"add k 0 0 1 noreply\r\nx\r\n",
            b"add k\tk 0 0 1\r\nx\r\n",
            b"ms k 1\r\nx\r\n",
            b"ms a! 1 b\r\nx\r\n",
            b"ms YQ== 1 b q\r\nx\r\n",
            b"add k 0 0 99999999999\r\nx\r\n",
            b"add k 0 0 1\r\nxy\r\n",
        ] {
            let error = all(&[good, bad].concat()).unwrap_err();
            assert!(error.starts_with("byte 16: "), "{error}");
        }
        let long = format!("add {} 0 0 1\r\nx\r\n", "k".repeat(251));
        assert!(all(long.as_bytes()).is_err());
    }

    #[test]
    fn plain_line_ends_and_what_memcached_tool_says_besides_are_no_trouble() {
        let dump = b"Dumping memcache contents\n\nset k 7 9 1\nx\nadd l 0 0 0\r\n\r\n";
        let found = all(dump).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0].key[..], found[0].flags, found[0].exptime), (&b"k"[..], 7, 9));
    }

    #[test]
    fn what_is_over_is_known_as_such() {
        let expires = |exptime| Record { exptime, ..Record::default() };
        let now = 1_800_000_000;
        assert!(expires(-1).has_expired(now) && expires(now).has_expired(now));
        assert!(!expires(0).has_expired(now) && !expires(60).has_expired(now));
        assert!(!expires(now + 1).has_expired(now));
    }
}
