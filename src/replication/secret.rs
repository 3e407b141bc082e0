//! The shared secret of a pair, and the link sealed with it.
//!
//! Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s: the secret is mixed in before the first byte, so whoever
//! does not know it can neither make nor read a first message; the ephemeral keys make the keys of
//! each connection new, so that nothing recorded opens or is taken for another one.

use blake2::{Blake2s256, Digest};
use bytes::{Buf, BufMut, BytesMut};
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bound to every proof: a message made for something else that uses the same secret is worth nothing.
const PROLOGUE: &[u8] = b"paircached link, sealed, version 1";
/// What makes the key from the secret's text differ from other uses of that text.
const DOMAIN: &[u8] = b"paircached shared secret 1";
/// Bytes of a proof: a public key and a tag.
pub const PROOF: usize = 48;
/// Fewer bytes could be found by trying.
pub const SECRET_MIN: usize = 16;
/// No secret needs more bytes.
pub const SECRET_MAX: usize = 4096;

/// Longest sealed message, and bytes that sealing adds.
const MESSAGE_MAX: usize = 65_535;
const TAG: usize = 16;
/// Bytes before a sealed message: its length.
const LENGTH: usize = 2;

/// A secret that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Too short to be one.
    #[error("holds {0} bytes, fewer than {SECRET_MIN}")]
    Short(usize),
    /// Too long to be meant.
    #[error("holds more than {SECRET_MAX} bytes")]
    Long,
}

/// The other side does not know the secret, or what it sent was changed on its way.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("sealed with another secret, or changed on its way")]
pub struct Unsealable;

/// What both nodes know and nobody else does.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret in the text of a file; white space around it does not count.
    pub fn new(text: &[u8]) -> Result<Secret, SecretError> {
        let text = text.trim_ascii();
        if text.len() < SECRET_MIN {
            return Err(SecretError::Short(text.len()));
        }
        if text.len() > SECRET_MAX {
            return Err(SecretError::Long);
        }
        Ok(Secret(Blake2s256::new().chain_update(DOMAIN).chain_update(text).finalize().into()))
    }

    /// The side that dials: the first proof.
    pub fn offer(&self) -> Result<(Handshake, Vec<u8>), Unsealable> {
        let mut state = self.builder()?.build_initiator().map_err(unsealable)?;
        let proof = write_proof(&mut state)?;
        Ok((Handshake(state), proof))
    }

    /// The side that accepts: checks the first proof and answers with its own.
    pub fn answer(&self, proof: &[u8]) -> Result<(Opening, Sealing, Vec<u8>), Unsealable> {
        let mut state = self.builder()?.build_responder().map_err(unsealable)?;
        state.read_message(proof, &mut []).map_err(unsealable)?;
        let answer = write_proof(&mut state)?;
        let (opening, sealing) = halves(state)?;
        Ok((opening, sealing, answer))
    }

    fn builder(&self) -> Result<Builder<'_>, Unsealable> {
        let params: NoiseParams = PATTERN.parse().map_err(unsealable)?;
        Builder::new(params)
            .psk(0, &self.0)
            .and_then(|builder| builder.prologue(PROLOGUE))
            .map_err(unsealable)
    }
}

/// The secret of a node that runs. Another may take its place: links that begin from then on are
/// sealed with that, and the one that is there goes on.
#[derive(Debug)]
pub struct Current(RwLock<Secret>);

impl Current {
    /// Begins with this one.
    pub fn new(secret: Secret) -> Current {
        Current(RwLock::new(secret))
    }

    /// The one for a link that begins now.
    pub fn get(&self) -> Secret {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another in its place; says whether it is another.
    pub fn replace(&self, secret: Secret) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, secret) != *current
    }
}

impl PartialEq for Current {
    fn eq(&self, other: &Current) -> bool {
        self.get() == other.get()
    }
}

/// The dialling side between its proof and the answer.
pub struct Handshake(HandshakeState);

impl Handshake {
    /// Checks the other side's proof.
    pub fn finish(mut self, answer: &[u8]) -> Result<(Opening, Sealing), Unsealable> {
        self.0.read_message(answer, &mut []).map_err(unsealable)?;
        halves(self.0)
    }
}

fn write_proof(state: &mut HandshakeState) -> Result<Vec<u8>, Unsealable> {
    let mut proof = vec![0; PROOF];
    let length = state.write_message(&[], &mut proof).map_err(unsealable)?;
    proof.truncate(length);
    Ok(proof)
}

fn halves(state: HandshakeState) -> Result<(Opening, Sealing), Unsealable> {
    let keys = Arc::new(state.into_stateless_transport_mode().map_err(unsealable)?);
    Ok((Opening { keys: Arc::clone(&keys), count: 0 }, Sealing { keys, count: 0 }))
}

/// Which of its errors the library returned tells a stranger too much and an operator nothing.
fn unsealable(_: impl fmt::Debug) -> Unsealable {
    Unsealable
}

/// Opens what the other side sealed, in its order.
pub struct Opening {
    keys: Arc<StatelessTransportState>,
    count: u64,
}

impl Opening {
    /// Moves what can be opened from the front of `sealed` to the end of `plain`.
    pub fn open(&mut self, sealed: &mut BytesMut, plain: &mut BytesMut) -> Result<(), Unsealable> {
        while let Some(length) = sealed.first_chunk::<LENGTH>() {
            let length = usize::from(u16::from_le_bytes(*length));
            let Some(message) = sealed.get(LENGTH..LENGTH + length) else { break };
            let start = plain.len();
            plain.resize(start + length, 0);
            let opened = self.keys.read_message(self.count, message, &mut plain[start..]);
            let opened = opened.map_err(unsealable)?;
            plain.truncate(start + opened);
            self.count += 1;
            sealed.advance(LENGTH + length);
        }
        Ok(())
    }
}

/// Seals what this side sends, in its order.
pub struct Sealing {
    keys: Arc<StatelessTransportState>,
    count: u64,
}

impl Sealing {
    /// Appends `plain`, sealed, to `sealed`.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), Unsealable> {
        for piece in plain.chunks(MESSAGE_MAX - TAG) {
            let length = piece.len() + TAG;
            sealed.put_u16_le(length as u16);
            let start = sealed.len();
            sealed.resize(start + length, 0);
            self.keys.write_message(self.count, piece, &mut sealed[start..]).map_err(unsealable)?;
            self.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn link(ours: &Secret, theirs: &Secret) -> Result<[(Opening, Sealing); 2], Unsealable> {
        let (handshake, proof) = ours.offer()?;
        let (opening, sealing, answer) = theirs.answer(&proof)?;
        Ok([handshake.finish(&answer)?, (opening, sealing)])
    }

    const SECRET: &str = "correct horse battery staple";

    #[test]
    fn both_sides_must_know_the_same_secret() {
        assert!(link(&secret(SECRET), &secret(&format!("  {SECRET}\n"))).is_ok());
        assert!(link(&secret(SECRET), &secret("correct horse battery stable")).is_err());
        assert_eq!(Secret::new(b"too short \n"), Err(SecretError::Short(9)));
    }

    #[test]
    fn what_takes_the_place_of_a_secret_is_told_from_the_same_again() {
        let current = Current::new(secret(SECRET));
        assert!(!current.replace(secret(SECRET)));
        assert!(current.replace(secret("something else altogether")));
        assert!(current.get() == secret("something else altogether"));
    }

    #[test]
    fn the_dialling_side_notices_an_answer_of_somebody_who_does_not_know_the_secret() {
        let (handshake, _) = secret(SECRET).offer().unwrap();
        let (_, proof) = secret("something else altogether").offer().unwrap();
        assert!(handshake.finish(&proof).is_err());
        let (handshake, proof) = secret(SECRET).offer().unwrap();
        assert!(handshake.finish(&proof).is_err(), "its own proof, sent back");
    }

    #[test]
    fn what_was_recorded_of_one_connection_opens_nothing_in_the_next() {
        let (handshake, proof) = secret(SECRET).offer().unwrap();
        let (_, _, answer) = secret(SECRET).answer(&proof).unwrap();
        let mut recorded = Vec::new();
        handshake.finish(&answer).unwrap().1.seal(b"hello", &mut recorded).unwrap();
        let (mut opening, ..) = secret(SECRET).answer(&proof).unwrap();
        let opened = opening.open(&mut recorded[..].into(), &mut BytesMut::new());
        assert_eq!(opened, Err(Unsealable));
    }

    #[test]
    fn a_message_repeated_left_out_or_changed_is_not_opened() {
        let [(_, mut sealing), _] = link(&secret(SECRET), &secret(SECRET)).unwrap();
        let mut nothing_before = Vec::new();
        sealing.seal(b"other keys", &mut nothing_before).unwrap();
        for damage in 0..4 {
            let [(_, mut sealing), (mut opening, _)] =
                link(&secret(SECRET), &secret(SECRET)).unwrap();
            let (mut first, mut second) = (Vec::new(), Vec::new());
            sealing.seal(b"first", &mut first).unwrap();
            sealing.seal(b"second", &mut second).unwrap();
            let sent = match damage {
                0 => [first.clone(), first].concat(),
                1 => second,
                2 => [&first[..3], &[first[3] ^ 1], &first[4..]].concat(),
                _ => nothing_before.clone(),
            };
            let mut plain = BytesMut::new();
            assert_eq!(opening.open(&mut sent[..].into(), &mut plain), Err(Unsealable));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(secret(SECRET).answer(&bytes).is_err());
            prop_assert!(secret(SECRET).offer().unwrap().0.finish(&bytes).is_err());
            let [_, (mut opening, _)] = link(&secret(SECRET), &secret(SECRET)).unwrap();
            let _ = opening.open(&mut bytes[..].into(), &mut BytesMut::new());
        }

        #[test]
        fn what_is_sealed_arrives_however_it_is_cut(
            pieces in proptest::collection::vec(0usize..200_000, 1..4), cut in 1usize..100_000,
        ) {
            let [(_, mut sealing), (mut opening, _)] =
                link(&secret(SECRET), &secret(SECRET)).unwrap();
            let (mut sealed, mut sent) = (Vec::new(), Vec::new());
            for (number, &length) in pieces.iter().enumerate() {
                let piece = vec![number as u8; length];
                sealing.seal(&piece, &mut sealed).unwrap();
                sent.extend(piece);
            }
            let (mut input, mut plain) = (BytesMut::new(), BytesMut::new());
            for part in sealed.chunks(cut) {
                input.extend_from_slice(part);
                opening.open(&mut input, &mut plain).unwrap();
            }
            prop_assert!(plain == sent && input.is_empty());
        }
    }
}
