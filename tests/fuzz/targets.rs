//! What is fuzzed: for each target a function that takes any bytes, and panics where something that
//! must hold does not. `cargo test --test parsers` replays what is kept of the fuzzers' findings.

use super::dialogue::{converse, log_in, pieces_by, whole};
use bytes::BytesMut;
use paircached::config::load;
use paircached::memory_file::format::{self, MAGIC, Profile, VERSION};
use paircached::protocol::{Output, Protocol, udp as datagrams};
use paircached::replication::Lineage;
use paircached::replication::hello::Hello;
use paircached::replication::session::{Clients, Session};
use paircached::replication::{Memory, frame};
use paircached::store::{Node, Now, Settings, Store};
use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;

/// A name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("text", text),
    ("meta", text),
    ("binary", binary),
    ("login", login),
    ("udp", udp),
    ("memory", memory),
    ("link", link),
    ("hello", hello),
    ("sysconfig", sysconfig),
    ("toml", toml),
];

/// The text protocol, meta commands among it: the same replies however the bytes arrive.
pub fn text(bytes: &[u8]) {
    any_pieces(Protocol::Ascii, bytes);
}

/// The binary protocol: the same replies however the bytes arrive.
pub fn binary(bytes: &[u8]) {
    any_pieces(Protocol::Binary, bytes);
}

/// Either protocol where a password is asked for, chosen by the first byte: the same replies however
/// the bytes arrive.
pub fn login(bytes: &[u8]) {
    let protocol = if bytes.first() == Some(&0x80) { Protocol::Binary } else { Protocol::Ascii };
    assert_eq!(log_in(protocol, bytes, pieces_by(bytes)), log_in(protocol, bytes, whole()));
}

fn any_pieces(protocol: Protocol, bytes: &[u8]) {
    let pieces = pieces_by(bytes);
    assert_eq!(converse(protocol, bytes, pieces), converse(protocol, bytes, whole()));
}

const NOW: Now = Now(1_800_000_000_000);

fn empty_store() -> Store {
    Store::new(&Settings {
        memory: 1 << 20,
        item_size_max: 1024,
        growth_factor: 8.0,
        tombstone_memory: Some(1 << 16),
        ..Settings::default()
    })
}

/// A datagram from anybody, and its bytes as a reply: what comes out is whole, numbered and short.
pub fn udp(bytes: &[u8]) {
    let Some((id, body)) = datagrams::request(bytes) else { return };
    // A short request makes a reply of many datagrams.
    let expected = body.repeat(1 + usize::from(id % 64));
    let mut output = Output::default();
    output.push(&expected);
    let Some(mut reply) = datagrams::Reply::new(id, &output) else { return };
    let (mut datagram, mut said) = ([0; datagrams::DATAGRAM_MAX], Vec::new());
    let (mut count, mut total) = (0, 0);
    while let Some(piece) = reply.next(&mut output, &mut datagram) {
        let (header, content) = piece.split_at(8);
        let numbers: Vec<u16> =
            header.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
        total = numbers[2];
        assert_eq!(numbers, [id, count, total, 0]);
        said.extend_from_slice(content);
        count += 1;
    }
    assert_eq!((count, said), (total, expected));
}

/// Frames of a memory file, each behind its length in two bytes; the checksums are made right, since
/// no fuzzer would guess them. A file that can be read can be saved and read again.
pub fn memory(bytes: &[u8]) {
    let profile = Profile { item_size_max: 1024, cluster: None };
    let read = |file: &[u8], store: &Store| format::read(file, store, &profile, NOW, |_| {});
    let _ = read(bytes, &empty_store());
    let mut file = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (payload, later) = after.split_at(length);
        rest = later;
        file.extend_from_slice(&(length as u32).to_le_bytes());
        file.extend_from_slice(payload);
        file.extend_from_slice(&crc32fast::hash(&file).to_le_bytes());
    }
    let store = empty_store();
    if read(&file, &store).is_err() {
        return;
    }
    let mut saved = Vec::new();
    format::write(&mut saved, &store, &profile, Lineage::default(), NOW, |_| {})
        .expect("memory takes all");
    read(&saved, &empty_store()).expect("what was saved can be read");
}

/// What a peer may send once it has said hello.
pub fn link(bytes: &[u8]) {
    let hello = |node, incarnation| Hello {
        protocol: Hello::protocol(),
        node,
        node_fixed: true,
        incarnation,
        clock: NOW.0,
        seen_incarnation: 0,
        seen_batch: 0,
        window: 1 << 16,
        item_size_max: 1024,
        cluster: String::new(),
        seen_before: None,
        restored_from: 0,
    };
    let (ours, peer) = (hello(Node::A, 1), hello(Node::B, 2));
    let store = Arc::new(empty_store());
    let mut session =
        Session::start(store, Clients::default(), Memory::default(), &ours, &peer, NOW);
    let mut rest = bytes;
    let mut input = BytesMut::new();
    let mut out = Vec::new();
    for piece in pieces_by(bytes) {
        let (arrived, later) = rest.split_at(piece.min(rest.len()));
        rest = later;
        input.extend_from_slice(arrived);
        if session.receive(&mut input, NOW).is_err() || rest.is_empty() {
            break;
        }
        out.clear();
        if session.produce(&mut out, NOW, false).is_err() {
            break;
        }
    }
    drop(session.end());
    changes(bytes);
}

/// A change that can be read is written as it was.
fn changes(mut bytes: &[u8]) {
    let (_, protocol) = Hello::protocol();
    loop {
        let before = bytes;
        let Ok(change) = frame::read_change(&mut bytes, protocol) else { return };
        let mut written = Vec::new();
        frame::write_change(&mut written, &change, protocol);
        let mut again = &written[..];
        assert_eq!(frame::read_change(&mut again, protocol), Ok(change));
        assert!(again.is_empty() && bytes.len() < before.len());
    }
}

/// What a stranger may send: a hello that can be read is written as it was. Names of clusters are
/// ASCII; what else comes in their place is only made fit to be shown.
pub fn hello(bytes: &[u8]) {
    let _ = frame::read(bytes, 1024);
    let Ok(hello) = Hello::read(bytes) else { return };
    if !hello.cluster.is_ascii() {
        return;
    }
    let mut written = Vec::new();
    hello.write(&mut written);
    assert_eq!(Hello::read(&written), Ok(hello));
}

/// `/etc/sysconfig/memcached`, with what its OPTIONS say.
pub fn sysconfig(bytes: &[u8]) {
    checked_config(bytes, "--sysconfig=", "--config=-/nonexistent");
}

/// `/etc/paircached/paircached.toml`.
pub fn toml(bytes: &[u8]) {
    checked_config(bytes, "--config=", "--sysconfig=-/nonexistent");
}

/// Either the configuration is shown, or it is refused with a code and a reason.
fn checked_config(bytes: &[u8], option: &str, nothing: &str) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let mut named = OsString::from(option);
    named.push(file.path());
    let line = ["paircached".into(), "--check-config".into(), named, nothing.into()];
    if let Err(exit) = load(line) {
        assert!(exit.code != 0 && !(exit.stderr.is_empty() && exit.stdout.is_empty()));
    }
}
