//! memcached's frame around requests and replies over UDP: eight bytes, four numbers of two bytes
//! each: the request's id, the place of the datagram in its message, how many datagrams the message
//! has, and a zero.

use super::Output;

/// Longest datagram that is sent, header included.
pub const DATAGRAM_MAX: usize = 1400;
const HEADER: usize = 8;
const BODY_MAX: usize = DATAGRAM_MAX - HEADER;

/// A datagram's request id and what it asks. There is none without content, and none that would be
/// a part of a longer one: requests must fit one datagram.
pub fn request(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let ([id0, id1, _, _, total0, total1, _, _], body) = datagram.split_first_chunk::<HEADER>()?;
    let whole = u16::from_be_bytes([*total0, *total1]) == 1 && !body.is_empty();
    whole.then_some((u16::from_be_bytes([*id0, *id1]), body))
}

/// A reply on its way out in datagrams.
#[derive(Debug)]
pub struct Reply {
    id: u16,
    next: u16,
    total: u16,
}

impl Reply {
    /// The datagrams of what waits in `output`; none when they are more than can be numbered.
    pub fn new(id: u16, output: &Output) -> Option<Reply> {
        let total = u16::try_from(output.len().div_ceil(BODY_MAX)).ok()?;
        Some(Reply { id, next: 0, total })
    }

    /// Moves the next piece out of `output`; returns its datagram until none is left.
    pub fn next<'a>(
        &mut self,
        output: &mut Output,
        datagram: &'a mut [u8; DATAGRAM_MAX],
    ) -> Option<&'a [u8]> {
        if output.is_empty() {
            return None;
        }
        for (at, number) in [self.id, self.next, self.total, 0].into_iter().enumerate() {
            datagram[2 * at..][..2].copy_from_slice(&number.to_be_bytes());
        }
        self.next = self.next.wrapping_add(1);
        let length = output.take(&mut datagram[HEADER..]);
        Some(&datagram[..HEADER + length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_request_is_one() {
        assert_eq!(request(b"\x01\x02\0\0\0\x01\0\0mn\r\n"), Some((0x0102, &b"mn\r\n"[..])));
        // Place and reserved bytes say nothing.
        assert_eq!(request(b"\xff\xff\x09\x09\0\x01\x09\x09x"), Some((0xffff, &b"x"[..])));
        for wrong in [
            &b""[..],
            b"\0\0\0\0\0\x01\0",
            b"\0\0\0\0\0\x01\0\0",
            b"\0\0\0\0\0\x02\0\0mn\r\n",
            b"\0\0\0\0\0\0\0\0mn\r\n",
            b"\0\0\0\0\x01\x01\0\0mn\r\n",
        ] {
            assert_eq!(request(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_reply_that_cannot_be_numbered_is_none() {
        let mut output = Output::default();
        let most = BODY_MAX * usize::from(u16::MAX);
        output.push_shared(Bytes::from(vec![b'x'; most]));
        assert!(Reply::new(1, &output).is_some());
        output.push(b"x");
        assert!(Reply::new(1, &output).is_none());
    }

    proptest! {
        #[test]
        fn no_datagram_is_too_strange(datagram in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some((id, body)) = request(&datagram) {
                prop_assert_eq!(&datagram[..2], &id.to_be_bytes());
                prop_assert_eq!(&datagram[8..], body);
            }
        }

        #[test]
        fn a_reply_is_whole_in_numbered_datagrams(
            id in any::<u16>(),
            pieces in proptest::collection::vec((any::<bool>(), 0usize..3000), 0..8),
        ) {
            let mut output = Output::default();
            let mut sent = Vec::new();
            for (at, (shared, length)) in pieces.into_iter().enumerate() {
                let piece = vec![at as u8; length];
                sent.extend_from_slice(&piece);
                if shared { output.push_shared(Bytes::from(piece)) } else { output.push(&piece) }
            }
            let mut reply = Reply::new(id, &output).unwrap();
            let mut datagram = [0; DATAGRAM_MAX];
            let mut received = Vec::new();
            let mut count: u16 = 0;
            while let Some(next) = reply.next(&mut output, &mut datagram) {
                let numbers = next[..8].chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
                let total = sent.len().div_ceil(1392) as u16;
                prop_assert_eq!(numbers.collect::<Vec<_>>(), [id, count, total, 0]);
                let last = count + 1 == total;
                prop_assert!(next.len() == 1400 || last && next.len() > 8);
                received.extend_from_slice(&next[8..]);
                count += 1;
            }
            prop_assert_eq!(received, sent);
        }
    }
}
