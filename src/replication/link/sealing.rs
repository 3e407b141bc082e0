//! The two directions of a sealed connection: bytes in, bytes out.

use crate::replication::hello::Refusal;
use crate::replication::secret;
use bytes::BytesMut;
use rustls::{Connection, Error, InvalidMessage};
use std::io::{self, BufRead, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Opens what the other side sealed, in its order.
pub(super) enum Opening {
    Secret(secret::Opening),
    Tls(Session),
}

/// Seals what this side sends, in its order.
pub(super) enum Sealing {
    Secret(secret::Sealing),
    Tls(Session),
}

impl Opening {
    /// Moves what can be opened from the front of `sealed` to the end of `plain`.
    pub(super) fn open(&mut self, sealed: &mut BytesMut, plain: &mut BytesMut) -> io::Result<()> {
        match self {
            Opening::Secret(keys) => keys.open(sealed, plain).map_err(io::Error::other),
            Opening::Tls(session) => session.open(sealed, plain),
        }
    }
}

impl Sealing {
    /// Appends `plain`, sealed, to `sealed`.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Sealing::Secret(keys) => keys.seal(plain, sealed).map_err(io::Error::other),
            Sealing::Tls(session) => {
                session.get().writer().write_all(plain)?;
                session.take_sealed(sealed)
            }
        }
    }
}

/// One session of TLS, for both directions. They take turns: nobody ever waits for the lock.
#[derive(Clone)]
pub(super) struct Session(Arc<Mutex<Connection>>);

impl Session {
    pub(super) fn new(connection: Connection) -> Session {
        Session(Arc::new(Mutex::new(connection)))
    }

    fn get(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.get().is_handshaking()
    }

    /// Appends what TLS has to say to `sealed`.
    pub(super) fn take_sealed(&self, sealed: &mut Vec<u8>) -> io::Result<()> {
        let mut session = self.get();
        while session.wants_write() {
            session.write_tls(sealed)?;
        }
        Ok(())
    }

    /// Takes in all of `sealed`; what is opened is appended to `plain`.
    pub(super) fn open(&self, sealed: &mut BytesMut, plain: &mut BytesMut) -> io::Result<()> {
        let mut session = self.get();
        let mut rest = &sealed[..];
        // Nothing is taken in behind a farewell.
        while !rest.is_empty() && session.read_tls(&mut rest)? > 0 {
            session.process_new_packets().map_err(io::Error::other)?;
            let mut reader = session.reader();
            while let Ok(opened) = reader.fill_buf()
                && !opened.is_empty()
            {
                let length = opened.len();
                plain.extend_from_slice(opened);
                reader.consume(length);
            }
        }
        sealed.clear();
        Ok(())
    }
}

/// Why TLS let the two not meet, if that is what the error is about.
pub(super) fn refusal(error: &io::Error) -> Option<Refusal> {
    let error: &Error = error.get_ref()?.downcast_ref()?;
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Refusal::NoTls,
        Error::NoCertificatesPresented => Refusal::Certificate("it shows none".to_owned()),
        Error::InvalidCertificate(error) => Refusal::Certificate(error.to_string()),
        Error::AlertReceived(alert) => Refusal::OwnCertificate(format!("{alert:?}")),
        other => Refusal::Certificate(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{PeerSettings, PeerTls};
    use proptest::prelude::*;

    fn node(own: &str, peer: &str) -> PeerTls {
        let file = |name: &str| {
            format!("{}/tests/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR")).into()
        };
        PeerTls::load(PeerSettings {
            chain_cert: file(own),
            key: file(&format!("{own}-key")),
            ca_cert: file("authority"),
            name: peer.to_owned(),
        })
        .unwrap()
    }

    fn pair() -> [Session; 2] {
        let one = node("one", "other.example").dialled().unwrap();
        let other = node("other", "one.example").accepted().unwrap();
        let sides = [Session::new(one), Session::new(other)];
        for turn in [0, 1, 0] {
            let mut said = Vec::new();
            sides[turn].take_sealed(&mut said).unwrap();
            sides[1 - turn].open(&mut said[..].into(), &mut BytesMut::new()).unwrap();
        }
        assert!(sides.iter().all(|side| !side.is_handshaking()));
        sides
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn what_is_sealed_arrives_however_it_is_cut(
            pieces in proptest::collection::vec(0usize..200_000, 1..4), cut in 1usize..100_000,
        ) {
            let [one, other] = pair();
            let (mut sealing, mut opening) = (Sealing::Tls(one), Opening::Tls(other));
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

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let fresh = Session::new(node("one", "other.example").accepted().unwrap());
            let _ = fresh.open(&mut bytes[..].into(), &mut BytesMut::new());
            let _ = pair()[0].open(&mut bytes[..].into(), &mut BytesMut::new());
        }
    }

    #[test]
    fn what_was_changed_on_its_way_is_not_opened() {
        let [one, other] = pair();
        let mut sealed = Vec::new();
        Sealing::Tls(one).seal(b"value", &mut sealed).unwrap();
        sealed[8] ^= 1;
        let error = other.open(&mut sealed[..].into(), &mut BytesMut::new()).unwrap_err();
        assert!(refusal(&error).is_some());
    }
}
