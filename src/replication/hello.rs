//! The handshake: who is there, and whether the two may form a pair.

use super::frame::{self, FrameError, take};
use crate::store::{Node, Now};
use bytes::{Buf, BufMut};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// First bytes of a hello: what is not a paircached is known at once.
const MAGIC: &[u8; 8] = b"paircach";
/// Oldest and newest version of the link's protocol that this program speaks.
const PROTOCOL: (u8, u8) = (1, frame::MARKS);
/// Longest hello or refusal, in bytes: all that a stranger may send.
pub const HELLO_MAX: usize = 1024;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest protocol version it speaks.
    pub protocol: (u8, u8),
    /// Which of the two it is.
    pub node: Node,
    /// Whether that was configured and can't be changed.
    pub node_fixed: bool,
    /// Number of this run of the program: after a restart it is a larger one, and another node's is
    /// another.
    pub incarnation: u64,
    /// Its clock, Unix milliseconds.
    pub clock: u64,
    /// The incarnation of the other that it last heard; 0 if none.
    pub seen_incarnation: u64,
    /// The last batch of that incarnation that it applied.
    pub seen_batch: u64,
    /// Bytes that it is ready to have in flight towards it.
    pub window: u64,
    /// The largest item it may send, in bytes.
    pub item_size_max: u64,
    /// Name of the cluster it belongs to.
    pub cluster: String,
    /// The incarnation of the other that it heard before the last one; 0 if none. 0.1.0 does not
    /// say.
    pub seen_before: Option<u64>,
    /// The incarnation whose data it has from a file, all that this one had acknowledged, as long as
    /// the other has not vouched for it; 0 if none. 0.1.0 does not say.
    pub restored_from: u64,
}

/// Why two nodes do not form a pair.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Not a hello of this program.
    #[error("the other side is no paircached: {0}")]
    Stranger(#[from] FrameError),
    /// No protocol version in common.
    #[error("no common protocol version: it speaks {0} to {1}, this node {2} to {3}")]
    Protocol(u8, u8, u8, u8),
    /// It belongs to another cluster.
    #[error("it belongs to cluster \"{0}\", this node to \"{1}\"")]
    Cluster(String, String),
    /// The peer's address leads back to this node.
    #[error("this node is connected to itself; set peer to the other node")]
    Myself,
    /// Both were configured to be the same node.
    #[error("both are configured as node {0}; set node = \"a\" on one and \"b\" on the other")]
    SameNode(Node),
    /// The clocks are too far apart for "newest" to mean anything.
    #[error(
        "the clocks are {0} ms apart, more than the {1} ms allowed; set the time on both nodes"
    )]
    Clock(u64, u64),
    /// It said hello without a proof.
    #[error("it gives no proof of the shared secret; set the same secret_file on both nodes")]
    NoProof,
    /// Its proof was made with another secret.
    #[error(
        "its proof is wrong: it knows another shared secret or none; set the same secret_file on both nodes"
    )]
    WrongProof,
    /// It gives a proof, and there is nothing here to check it with.
    #[error(
        "one node has a shared secret and the other has none; set the same secret_file on both nodes"
    )]
    NoSecret,
    /// It begins with TLS, and this node has no certificate for that.
    #[error(
        "it speaks TLS and this node does not; set tls_chain_cert, tls_key and tls_ca_cert on both nodes"
    )]
    Tls,
    /// It begins without TLS.
    #[error(
        "it speaks no TLS and this node does; set tls_chain_cert, tls_key and tls_ca_cert on both nodes"
    )]
    NoTls,
    /// It may be anybody.
    #[error(
        "its certificate is not accepted: {0}; it must be by an authority in tls_ca_cert and for the name of the peer (tls_peer_name)"
    )]
    Certificate(String),
    /// It does not believe that this node is who it is.
    #[error(
        "it does not accept this node's certificate ({0}); its log says why: see tls_ca_cert and tls_peer_name there"
    )]
    OwnCertificate(String),
    /// It left without an answer when it had seen what this node knows.
    #[error("it hung up on this node's {0}; {advice}", advice = hung_up(*.0))]
    HungUp(Said),
    /// The other side said no.
    #[error("the peer refuses: {0}")]
    ByPeer(String),
}

/// What somebody may hang up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who this node is, said openly or behind a proof.
    Introduction,
    /// The first proof.
    Proof,
    /// The first words of TLS, or what was said behind this node's certificate.
    Tls,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Said::Introduction => "introduction",
            Said::Proof => "proof of the shared secret",
            Said::Tls => "certificate",
        })
    }
}

/// What it may mean that it hung up.
fn hung_up(said: Said) -> &'static str {
    match said {
        Said::Introduction | Said::Proof => {
            "it may have another shared secret, or be no paircached: set the same secret_file on both nodes"
        }
        Said::Tls => {
            "it may not accept it, or be no paircached: set tls_chain_cert, tls_key and tls_ca_cert on both nodes"
        }
    }
}

impl Hello {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_slice(MAGIC);
        out.put_u8(self.protocol.0);
        out.put_u8(self.protocol.1);
        out.put_u8(u8::from(self.node == Node::B));
        out.put_u8(u8::from(self.node_fixed));
        for number in [
            self.incarnation,
            self.clock,
            self.seen_incarnation,
            self.seen_batch,
            self.window,
            self.item_size_max,
        ] {
            out.put_u64_le(number);
        }
        out.put_u8(self.cluster.len() as u8);
        out.put_slice(self.cluster.as_bytes());
        if let Some(seen_before) = self.seen_before {
            out.put_u64_le(seen_before);
            out.put_u64_le(self.restored_from);
        }
    }

    /// Reads one; what a later version may put behind it is ignored.
    pub fn read(mut payload: &[u8]) -> Result<Hello, FrameError> {
        let magic = take(&mut payload, MAGIC.len())?;
        if magic != MAGIC {
            return Err(FrameError::UnknownKind(magic[0]));
        }
        let input = &mut payload;
        Ok(Hello {
            protocol: (input.try_get_u8()?, input.try_get_u8()?),
            node: if input.try_get_u8()? == 0 { Node::A } else { Node::B },
            node_fixed: input.try_get_u8()? != 0,
            incarnation: input.try_get_u64_le()?,
            clock: input.try_get_u64_le()?,
            seen_incarnation: input.try_get_u64_le()?,
            seen_batch: input.try_get_u64_le()?,
            window: input.try_get_u64_le()?,
            item_size_max: input.try_get_u64_le()?,
            cluster: {
                let length = usize::from(input.try_get_u8()?);
                printable(take(input, length)?)
            },
            seen_before: input.try_get_u64_le().ok(),
            restored_from: input.try_get_u64_le().unwrap_or_default(),
        })
    }

    /// The version of the protocol that both speak.
    pub fn protocol_with(&self, peer: &Hello) -> u8 {
        self.protocol.1.min(peer.protocol.1)
    }

    /// The versions of the protocol that this program speaks.
    pub fn protocol() -> (u8, u8) {
        PROTOCOL
    }

    /// Whether this node (`self`) can pair with `peer`; if so, which node this one is from now on.
    pub fn pairs_with(
        &self,
        peer: &Hello,
        max_clock_skew: Duration,
        now: Now,
    ) -> Result<Node, Refusal> {
        if peer.protocol.0 > self.protocol.1 || peer.protocol.1 < self.protocol.0 {
            let (ours, theirs) = (self.protocol, peer.protocol);
            return Err(Refusal::Protocol(theirs.0, theirs.1, ours.0, ours.1));
        }
        if peer.incarnation == self.incarnation {
            return Err(Refusal::Myself);
        }
        if peer.cluster != self.cluster {
            return Err(Refusal::Cluster(peer.cluster.clone(), self.cluster.clone()));
        }
        let (apart, allowed) = (peer.clock.abs_diff(now.0), max_clock_skew.as_millis() as u64);
        if apart > allowed {
            return Err(Refusal::Clock(apart, allowed));
        }
        if peer.node != self.node {
            return Ok(self.node);
        }
        match (self.node_fixed, peer.node_fixed) {
            (true, true) => Err(Refusal::SameNode(self.node)),
            (true, false) => Ok(self.node),
            (false, true) => Ok(self.node.other()),
            // Both guessed the same: both compare the same two numbers and come to the same end.
            (false, false) => {
                Ok(if self.incarnation < peer.incarnation { Node::A } else { Node::B })
            }
        }
    }
}

/// Text of the other side's, made fit for logs and for systemd: one line, of limited length.
pub fn printable(text: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let text = String::from_utf8_lossy(text);
    text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Time after which two connections are not taken for two that were dialled at once.
pub const CROSSING: Duration = Duration::from_secs(2);

/// Whether a new connection takes the place of the link that exists.
///
/// A node dials only when it has no link, so a new connection normally means that the other side
/// has lost the old one. Only when both dialled at the same moment two good connections meet: then
/// both sides keep the one that node A dialled.
pub fn replaces(new_dialled_by: Node, old_dialled_by: Node, old_age: Duration) -> bool {
    old_age > CROSSING || new_dialled_by == Node::A || old_dialled_by == Node::B
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: Node, incarnation: u64) -> Hello {
        Hello {
            protocol: PROTOCOL,
            node,
            node_fixed: false,
            incarnation,
            clock: 1_800_000_000_000,
            seen_incarnation: 7,
            seen_batch: 9,
            window: 1 << 20,
            item_size_max: 1 << 20,
            cluster: "blue".to_owned(),
            seen_before: Some(5),
            restored_from: 4,
        }
    }

    fn pair(ours: &Hello, theirs: &Hello) -> Result<Node, Refusal> {
        ours.pairs_with(theirs, Duration::from_secs(60), Now(1_800_000_000_000))
    }

    #[test]
    fn a_hello_is_read_as_it_was_written_and_later_additions_are_ignored() {
        let mut bytes = Vec::new();
        hello(Node::B, 3).write(&mut bytes);
        bytes.extend_from_slice(b"from the future");
        assert_eq!(Hello::read(&bytes), Ok(hello(Node::B, 3)));
    }

    #[test]
    fn two_nodes_that_guessed_the_same_end_as_two_different_ones() {
        let (one, other) = (hello(Node::A, 1), hello(Node::A, 2));
        assert_ne!(pair(&one, &other).unwrap(), pair(&other, &one).unwrap());
    }

    #[test]
    fn a_guess_gives_way_to_a_configured_node() {
        let fixed = Hello { node_fixed: true, ..hello(Node::B, 1) };
        let guessed = hello(Node::B, 2);
        assert_eq!((pair(&fixed, &guessed), pair(&guessed, &fixed)), (Ok(Node::B), Ok(Node::A)));
        let other = Hello { node_fixed: true, ..hello(Node::B, 2) };
        assert_eq!(pair(&fixed, &other), Err(Refusal::SameNode(Node::B)));
    }

    #[test]
    fn another_cluster_another_protocol_another_time_and_oneself_are_refused() {
        let ours = hello(Node::A, 1);
        let green = Hello { cluster: "green".to_owned(), ..hello(Node::B, 2) };
        assert!(matches!(pair(&ours, &green), Err(Refusal::Cluster(..))));
        let newer = Hello { protocol: (PROTOCOL.1 + 1, PROTOCOL.1 + 2), ..hello(Node::B, 2) };
        assert!(matches!(pair(&ours, &newer), Err(Refusal::Protocol(..))));
        let late = Hello { clock: ours.clock - 61_000, ..hello(Node::B, 2) };
        assert_eq!(pair(&ours, &late), Err(Refusal::Clock(61_000, 60_000)));
        assert_eq!(pair(&ours, &ours), Err(Refusal::Myself));
    }

    #[test]
    fn when_both_dial_at_once_both_keep_what_node_a_dialled() {
        let young = Duration::from_millis(10);
        assert!(replaces(Node::A, Node::B, young));
        assert!(!replaces(Node::B, Node::A, young));
        assert!(replaces(Node::B, Node::A, Duration::from_secs(10)));
    }
}
