//! `keys` and `dump`: what a server holds, by any memcached's `lru_crawler metadump`.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use paircached::protocol::base64;

use super::client::Conversation;
use super::record::{Record, VALUE_MAX, is_plain};
use super::server::Server;
use super::{Outcome, UNREACHABLE};

/// How long a server may be silent: it walks past much that it does not show.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server's own search may keep it from a dump, and how often to ask again.
const BUSY: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(100));
/// Keys that are asked for at once.
const KEYS: usize = 100;
/// Bytes of a line of keys, about: no server takes more than 2048 for granted.
const LINE: usize = 1700;

/// Why a dump ended early.
enum Failure {
    /// The server is at fault, or unreachable.
    Server(String),
    /// Nobody reads on, or the disk is full.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Server(what)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

/// A key and when it expires, in Unix seconds; 0 is never.
type Found = (Vec<u8>, i64);

/// Prints what the server says of each item, one line each.
pub(crate) fn keys(server: &Server, limit: u64, unescape: bool) -> Outcome {
    announce("keys", limit);
    let mut out = BufWriter::new(io::stdout().lock());
    let listed = metadump(server).and_then(|mut dump| {
        for _ in 0..limit {
            let Some(line) = next_line(&mut dump)? else { break };
            out.write_all(&if unescape { decoded(&line) } else { line })?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    });
    outcome(listed.map(|()| 0))
}

/// Prints the commands that store each item again.
pub(crate) fn dump(server: &Server, limit: u64) -> Outcome {
    announce("contents", limit);
    let mut out = BufWriter::new(io::stdout().lock());
    let dumped = copy(server, limit, &mut out);
    outcome(dumped.and_then(|unreadable| {
        out.flush()?;
        Ok(unreadable)
    }))
}

/// memcached-tool says so too, in these words.
fn announce(what: &str, limit: u64) {
    let limit =
        if limit < u64::MAX { format!(" (limiting to {limit} keys)") } else { String::new() };
    let _ = writeln!(io::stderr(), "Dumping memcache {what}{limit}");
}

fn outcome(done: Result<u64, Failure>) -> Outcome {
    let (errors, code) = match done {
        Ok(0) => (String::new(), 0),
        Ok(keys) => {
            (format!("pairctl: {keys} keys could not be asked for by this server's protocol\n"), 1)
        }
        Err(Failure::Server(what)) => (format!("pairctl: {what}\n"), UNREACHABLE),
        // As with head(1): whoever read has enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            (String::new(), 1)
        }
        Err(Failure::Output(error)) => (format!("pairctl: cannot write the dump: {error}\n"), 1),
    };
    (String::new(), errors, code)
}

/// A connection on which the lines of a dump come next.
fn metadump(server: &Server) -> Result<Conversation<'_>, Failure> {
    let begun = Instant::now();
    loop {
        let mut dump = Conversation::open(server, PATIENCE)?;
        dump.send(b"lru_crawler metadump all\r\n")?;
        let answer = dump.peek()?;
        let busy = answer.starts_with(b"BUSY") || answer.starts_with(b"ERROR locked");
        if !busy || begun.elapsed() >= BUSY.0 {
            return Ok(dump);
        }
        std::thread::sleep(BUSY.1);
    }
}

/// The next line that is about an item; `None` at the end.
fn next_line(dump: &mut Conversation<'_>) -> Result<Option<Vec<u8>>, Failure> {
    loop {
        let line = dump.line()?;
        match &line[..] {
            b"OK" => {}
            b"END" => return Ok(None),
            line if line.starts_with(b"key=") => return Ok(Some(line.to_vec())),
            other => return Err(dump.surprised(other).into()),
        }
    }
}

/// The key and expiry that a line tells.
fn found(line: &[u8]) -> Option<Found> {
    let mut words = line.split(|&byte| byte == b' ');
    let key = decoded(words.next()?.strip_prefix(b"key=")?);
    let exptime = std::str::from_utf8(words.next()?.strip_prefix(b"exp=")?).ok()?.parse().ok()?;
    Some((key, if exptime == -1 { 0 } else { exptime }))
}

/// What stands for itself in an URI and what stands there as `%` and two digits.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte =
            digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    bytes
}

/// Writes all items, and returns how many keys there was no way to ask for.
fn copy(server: &Server, limit: u64, out: &mut impl Write) -> Result<u64, Failure> {
    let mut dump = metadump(server)?;
    let mut reader = Conversation::open(server, PATIENCE)?;
    let (mut batch, mut left, mut unreadable) = (Vec::new(), limit, 0);
    while left > 0 {
        let Some(line) = next_line(&mut dump)? else { break };
        left -= 1;
        batch.extend(found(&line));
        if batch.len() >= KEYS {
            unreadable += fetch(&mut reader, &batch, out)?;
            batch.clear();
        }
    }
    Ok(unreadable + fetch(&mut reader, &batch, out)?)
}

/// Asks for some items and writes those that are still there.
fn fetch(
    reader: &mut Conversation<'_>,
    batch: &[Found],
    out: &mut impl Write,
) -> Result<u64, Failure> {
    let (plain, other): (Vec<&Found>, Vec<&Found>) =
        batch.iter().partition(|(key, _)| is_plain(key));
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for (key, _) in &plain {
        match lines.last_mut().filter(|line| line.len() + key.len() < LINE) {
            Some(line) => line.extend([b" ", &key[..]].concat()),
            None => lines.push([b"get ", &key[..]].concat()),
        }
    }
    let count = lines.len();
    reader.send(
        &lines.into_iter().flat_map(|line| [&line[..], b"\r\n"].concat()).collect::<Vec<u8>>(),
    )?;
    let mut expected = plain.into_iter();
    for _ in 0..count {
        loop {
            let line = reader.line()?;
            if line == b"END" {
                break;
            }
            let (key, flags, length) = value_line(&line).ok_or_else(|| reader.surprised(&line))?;
            let value = reader.block(length)?;
            // Those that are gone by now are left out of the answer.
            let item = expected.find(|(wanted, _)| wanted == key);
            let (key, exptime) = item.ok_or_else(|| reader.surprised(&line))?;
            let record =
                Record { key: key.clone(), encoded: false, flags, exptime: *exptime, value };
            record.write(out, false)?;
        }
    }
    let mut unreadable = 0;
    for (key, exptime) in other {
        unreadable += u64::from(!fetch_encoded(reader, key, *exptime, out)?);
    }
    Ok(unreadable)
}

/// An item whose key no line can hold; false if the server knows no other way to ask for it.
fn fetch_encoded(
    reader: &mut Conversation<'_>,
    key: &[u8],
    exptime: i64,
    out: &mut impl Write,
) -> Result<bool, Failure> {
    let mut encoded = Vec::new();
    base64::encode(key, |digits| encoded.extend_from_slice(digits));
    reader.send(&[b"mg ", &encoded[..], b" b f v\r\n"].concat())?;
    let line = reader.line()?;
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    match words[..] {
        [b"EN"] => Ok(true),
        [b"VA", length, ref rest @ ..] => {
            let flags = rest.iter().find_map(|word| number(word.strip_prefix(b"f")?)).unwrap_or(0);
            let length = number(length).filter(|&length| length <= VALUE_MAX);
            let value = reader.block(length.ok_or_else(|| reader.surprised(&line))?)?;
            Record { key: encoded, encoded: true, flags: flags as u32, exptime, value }
                .write(out, false)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// `VALUE KEY FLAGS LENGTH`.
fn value_line(line: &[u8]) -> Option<(&[u8], u32, u64)> {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let [b"VALUE", key, flags, length] = words[..] else { return None };
    let length = number(length).filter(|&length| length <= VALUE_MAX)?;
    Some((key, u32::try_from(number(flags)?).ok()?, length))
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_dump_tells_key_and_expiry() {
        let line = b"key=a%20b%0Ac exp=1521046038 la=1 cas=7 fetch=no cls=1 size=2 flags=0 ";
        assert_eq!(found(line), Some((b"a b\nc".to_vec(), 1_521_046_038)));
        assert_eq!(found(b"key=k exp=-1 la=1"), Some((b"k".to_vec(), 0)));
        assert_eq!(found(b"key=k"), None);
    }

    #[test]
    fn what_is_not_encoded_stays_as_it_is() {
        assert_eq!(decoded(b"100%"), b"100%");
        assert_eq!(decoded(b"%zz%4"), b"%zz%4");
        assert_eq!(decoded(b"%c3%A4%25"), b"\xc3\xa4%");
        assert_eq!(decoded(b"%\xff\xff"), b"%\xff\xff");
    }
}
