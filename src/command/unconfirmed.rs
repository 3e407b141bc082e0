//! What is said of writes that the peer does not have, where that is an error.

use super::binary;
use super::reply::line;
use crate::protocol::Output;
use crate::protocol::binary::Frame;

/// Why a write was refused: nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It would wait for the peer in vain.
    Away,
    /// This node is about to be stopped.
    Handover,
}

impl Refusal {
    /// What the client is told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Away => "SERVER_ERROR not written: the peer is away",
            Refusal::Handover => "SERVER_ERROR not written: this node hands over to its peer",
        }
    }
}

/// What it is told when its write was done here and may not be at the peer.
const NOT_CONFIRMED: &str = "SERVER_ERROR not replicated: the peer did not confirm in time";
/// What it is told when the key's owner can't be asked or does not answer.
const UNDECIDED: &str = "SERVER_ERROR undecided: the owner of the key does not answer";

/// The answer to a request whose write the peer did not confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The client wanted no answer.
    Nothing,
    /// A line of the text protocol.
    Line,
    /// A frame of the binary protocol, with the opcode and the opaque of the request.
    Frame(u8, [u8; 4]),
}

impl Unconfirmed {
    /// For a request of the binary protocol; its quiet forms are told of errors.
    pub fn of_frame(frame: &Frame<'_>) -> Unconfirmed {
        Unconfirmed::Frame(frame.opcode, frame.opaque)
    }

    /// Appends the answer.
    pub fn write(self, out: &mut Output) {
        self.write_text(NOT_CONFIRMED, out);
    }

    /// Appends the answer to a request that was the key's owner's to decide.
    pub fn write_undecided(self, out: &mut Output) {
        self.write_text(UNDECIDED, out);
    }

    fn write_text(self, text: &str, out: &mut Output) {
        match self {
            Unconfirmed::Nothing => {}
            Unconfirmed::Line => line(out, text),
            Unconfirmed::Frame(opcode, opaque) => binary::write_unconfirmed(opcode, opaque, out),
        }
    }
}
