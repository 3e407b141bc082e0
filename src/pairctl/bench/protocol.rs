//! What requests look like in each of memcached's protocols.

use super::keys::{KEY, push_key};

/// Length of what every message of the binary protocol begins with.
pub(super) const HEADER: usize = 24;
const REQUEST: u8 = 0x80;
const GET: u8 = 0x00;
const SET: u8 = 0x01;

/// A protocol that memcached speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// get and set
    Text,
    /// mg and ms
    Meta,
    /// get and set of the binary protocol
    Binary,
}

impl Protocol {
    /// Appends a request that sets a key.
    pub(super) fn push_set(self, out: &mut Vec<u8>, key: u64, value: &[u8]) {
        if self == Protocol::Binary {
            let body = 8 + KEY + value.len();
            push_header(out, SET, 8, body);
            // Flags and expiry.
            out.extend_from_slice(&[0; 8]);
            push_key(out, key);
            return out.extend_from_slice(value);
        }
        out.extend_from_slice(if self == Protocol::Meta { b"ms " } else { b"set " });
        push_key(out, key);
        out.extend_from_slice(if self == Protocol::Meta { b" " } else { b" 0 0 " });
        out.extend_from_slice(itoa::Buffer::new().format(value.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends what asks for these keys; but for the text protocol it is a request for each.
    pub(super) fn push_get(self, out: &mut Vec<u8>, keys: &[u64]) {
        match self {
            Protocol::Text => {
                out.extend_from_slice(b"get");
                for &key in keys {
                    out.push(b' ');
                    push_key(out, key);
                }
                out.extend_from_slice(b"\r\n");
            }
            Protocol::Meta => {
                for &key in keys {
                    out.extend_from_slice(b"mg ");
                    push_key(out, key);
                    out.extend_from_slice(b" v\r\n");
                }
            }
            Protocol::Binary => {
                for &key in keys {
                    push_header(out, GET, 0, KEY);
                    push_key(out, key);
                }
            }
        }
    }
}

fn push_header(out: &mut Vec<u8>, opcode: u8, extras: u8, body: usize) {
    let mut header = [0; HEADER];
    header[0] = REQUEST;
    header[1] = opcode;
    header[2..4].copy_from_slice(&(KEY as u16).to_be_bytes());
    header[4] = extras;
    header[8..12].copy_from_slice(&(body as u32).to_be_bytes());
    out.extend_from_slice(&header);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_own_words() {
        let (mut text, mut meta, mut binary) = (Vec::new(), Vec::new(), Vec::new());
        for (protocol, out) in [
            (Protocol::Text, &mut text),
            (Protocol::Meta, &mut meta),
            (Protocol::Binary, &mut binary),
        ] {
            protocol.push_set(out, 1, b"value");
            protocol.push_get(out, &[1, 2]);
        }
        let expected =
            "set key:000000000001 0 0 5\r\nvalue\r\nget key:000000000001 key:000000000002\r\n";
        assert_eq!(text, expected.as_bytes());
        let expected =
            "ms key:000000000001 5\r\nvalue\r\nmg key:000000000001 v\r\nmg key:000000000002 v\r\n";
        assert_eq!(meta, expected.as_bytes());
        assert_eq!(binary.len(), HEADER + 8 + KEY + 5 + 2 * (HEADER + KEY));
        assert_eq!(binary[..12], [0x80, 1, 0, 16, 8, 0, 0, 0, 0, 0, 0, 29]);
    }
}
