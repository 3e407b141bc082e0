//! A large value on its way, which is read to where it will stand in the store.

use super::input::Input;
use super::turn::Turn;
use crate::command::execute;
use crate::protocol::Output;
use crate::protocol::text::{Request, Store, parse_set_line};
use crate::server::socket::Socket;
use crate::store::Landing;
use std::io;
use std::task::{Context, Poll, ready};

/// From this length on a value is worth a place of its own.
pub(super) const LARGE: usize = 64 * 1024;
/// Bytes that are read along with the last ones of a value: its end, and what the client asks next.
const BEHIND: usize = 2 * 1024;
const END: &[u8] = b"\r\n";

/// A simple `set` of a large value, of which not all has come.
pub(super) struct Arrival {
    line: Box<[u8]>,
    landing: Landing,
}

impl Arrival {
    /// Takes what has come of such a request, if there is a place for the rest.
    pub(super) fn begin(turn: &Turn<'_>, input: &[u8]) -> Option<Box<Arrival>> {
        let (store, length) = parse_set_line(input, |key, flags, value| {
            value >= LARGE && turn.fits(key, flags, value)
        })?;
        if input.len() - length >= store.length {
            return None;
        }
        let mut landing = turn.cache.store.landing(store.length, turn.now)?;
        let (line, come) = input.split_at(length);
        landing.spare()[..come.len()].copy_from_slice(come);
        landing.fill(come.len());
        Some(Box::new(Arrival { line: line.into(), landing }))
    }

    /// Reads, and notes how much at a time; ready when all has come, and the two bytes that end it are at
    /// the front of `input`.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        input: &mut Input,
        mut note: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while !self.landing.is_full() || input.front().len() < END.len() {
            let mut behind = [0; BEHIND];
            let spare = self.landing.spare();
            let left = spare.len();
            let read = ready!(socket.poll_read_two(cx, spare, &mut behind))?;
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            note(read);
            self.landing.fill(read.min(left));
            input.push(&behind[..read.saturating_sub(left)]);
        }
        Poll::Ready(Ok(()))
    }

    /// Does the request, all of which has come. What is not simple, or wrong, goes back to the front of
    /// `input`.
    pub(super) fn perform(self, turn: &Turn<'_>, input: &mut Input, out: &mut Output) {
        if !turn.simple || !input.front().starts_with(END) {
            return input.put_back(&[&self.line, self.landing.value()]);
        }
        input.take(END.len());
        let Turn { cache, worker, now, .. } = *turn;
        let set = parse_set_line(&self.line, |_, _, _| true);
        let Some((store, _)) = set else { return debug_assert!(false, "it was read before") };
        self.landing.hand_over(|value| {
            let set = Request::Store(Store { value, ..store });
            execute(cache, worker, now, set, false, out);
        });
    }
}
