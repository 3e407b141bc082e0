//! Replies on their way out: small ones copied one after another, large values by reference.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Reply bytes in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Everything that was copied in.
    copied: Vec<u8>,
    /// How much of `copied` has been sent.
    sent: usize,
    /// Values by reference, each with the position in `copied` before which it goes.
    shared: VecDeque<(usize, Bytes)>,
    shared_len: usize,
}

impl Output {
    /// Appends a copy.
    // What is known to the caller to be short is then copied without a call.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
    }

    /// Appends a decimal number.
    pub fn push_number(&mut self, number: u64) {
        let digit = |tens: u64| b'0' + (number / tens % 10) as u8;
        // Most are short: these are written without a call.
        match number {
            0..10 => self.push(&[digit(1)]),
            10..100 => self.push(&[digit(10), digit(1)]),
            100..1000 => self.push(&[digit(100), digit(10), digit(1)]),
            _ => self.push(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// Appends bytes that are not copied.
    pub fn push_shared(&mut self, bytes: Bytes) {
        self.shared_len += bytes.len();
        self.shared.push_back((self.copied.len(), bytes));
    }

    /// Bytes that wait to be sent.
    pub fn len(&self) -> usize {
        self.copied.len() - self.sent + self.shared_len
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was appended after `mark`, an earlier [`Output::mark`].
    pub fn rewind(&mut self, mark: (usize, usize)) {
        self.copied.truncate(mark.0);
        while self.shared.len() > mark.1 {
            if let Some((_, bytes)) = self.shared.pop_back() {
                self.shared_len -= bytes.len();
            }
        }
    }

    /// The place that has been reached, for [`Output::rewind`].
    pub fn mark(&self) -> (usize, usize) {
        (self.copied.len(), self.shared.len())
    }

    /// Appends what lies between two marks of `other`, none of which has been sent.
    pub fn append(&mut self, other: &Output, from: (usize, usize), to: (usize, usize)) {
        let mut at = from.0;
        for (before, bytes) in other.shared.range(from.1..to.1) {
            self.push(&other.copied[at..*before]);
            at = *before;
            self.push_shared(bytes.clone());
        }
        self.push(&other.copied[at..to.0]);
    }

    /// What was copied in after `mark`.
    pub fn copied_since(&self, mark: (usize, usize)) -> &[u8] {
        &self.copied[mark.0..]
    }

    /// What is to be sent next, in order: as many of `slices` as are needed, or all.
    pub fn slices<'a, 's, const N: usize>(
        &'a self,
        slices: &'s mut [IoSlice<'a>; N],
    ) -> &'s [IoSlice<'a>] {
        let mut at = self.sent;
        let copied = |from: usize, to: usize| &self.copied[from..to];
        let mut parts = self.shared.iter().flat_map(|(before, bytes)| {
            let from = std::mem::replace(&mut at, *before);
            [copied(from, *before), &bytes[..]]
        });
        let mut count = 0;
        let rest = [copied(self.shared.back().map_or(self.sent, |last| last.0), self.copied.len())];
        let parts = parts.by_ref().chain(rest).filter(|part| !part.is_empty());
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        &slices[..count]
    }

    /// The waiting bytes, if they are all copied ones: the usual case, for a plain write.
    pub fn plain(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.copied[self.sent..])
    }

    /// Notes that `sent` bytes have gone out.
    pub fn advance(&mut self, mut sent: usize) {
        while let Some((before, bytes)) = self.shared.front_mut() {
            let copied = (*before - self.sent).min(sent);
            self.sent += copied;
            sent -= copied;
            if self.sent < *before || sent == 0 && !bytes.is_empty() {
                return;
            }
            let shared = bytes.len().min(sent);
            bytes.advance(shared);
            self.shared_len -= shared;
            sent -= shared;
            if !bytes.is_empty() {
                return;
            }
            self.shared.pop_front();
        }
        self.sent += sent;
        if self.sent == self.copied.len() {
            self.clear();
        }
    }

    /// Moves what is to be sent next into `into`; returns how many bytes that were.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        while taken < into.len() && !self.is_empty() {
            let mut slices = [IoSlice::new(&[])];
            let slice = &self.slices(&mut slices)[0];
            let length = slice.len().min(into.len() - taken);
            into[taken..taken + length].copy_from_slice(&slice[..length]);
            self.advance(length);
            taken += length;
        }
        taken
    }

    /// Forgets everything and keeps the memory for the next replies.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.sent = 0;
        self.shared.clear();
        self.shared_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flatten(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        output.slices(&mut slices).iter().flat_map(|slice| slice.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out_in_order_however_it_is_sent(
            pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..20),
            steps in proptest::collection::vec(1usize..30, 1..200),
        ) {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (shared, piece) in pieces {
                expected.extend_from_slice(&piece);
                if shared { output.push_shared(Bytes::from(piece)) } else { output.push(&piece) }
            }
            let mut received = Vec::new();
            for step in steps.iter().cycle() {
                prop_assert_eq!(output.len() + received.len(), expected.len());
                if output.is_empty() { break }
                let waiting = flatten(&output);
                let sent = (*step).min(waiting.len());
                received.extend_from_slice(&waiting[..sent]);
                output.advance(sent);
            }
            prop_assert_eq!(received, expected);
        }
    }

    #[test]
    fn a_part_of_another_output_is_appended_with_what_it_has_by_reference() {
        let mut other = Output::default();
        let mut marks = vec![other.mark()];
        for piece in [&b"one"[..], b"two", b"three"] {
            other.push(piece);
            other.push_shared(Bytes::copy_from_slice(piece));
            other.push(b".");
            marks.push(other.mark());
        }
        let mut output = Output::default();
        output.append(&other, marks[0], marks[1]);
        output.push(b"error");
        output.append(&other, marks[2], marks[3]);
        assert_eq!(flatten(&output), b"oneone.errorthreethree.");
    }

    #[test]
    fn rewinding_forgets_what_came_after_the_mark() {
        let mut output = Output::default();
        output.push(b"kept");
        let mark = output.mark();
        output.push(b"gone");
        output.push_shared(Bytes::from_static(b"gone too"));
        output.rewind(mark);
        assert_eq!(flatten(&output), b"kept");
        assert_eq!(output.len(), 4);
    }
}
