//! TLS between the two nodes of a pair. Each shows a certificate and takes the other's by one rule,
//! whoever dialled: an authority of the configured file vouches for it, and it is made out to the
//! peer's name. Nothing is spoken but TLS 1.3, and no session is resumed: each link is judged by the
//! files that are in use when it begins.

use super::PEM;
use super::files::{self, LoadError};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, ServerConnection, SignatureScheme, version,
};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The files, from the root directory on, and who the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// This node's certificate and those between it and the root, in PEM.
    pub chain_cert: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// Certificates, in PEM, one of which has to vouch for the peer's.
    pub ca_cert: PathBuf,
    /// The name or address that the peer's certificate is made out to.
    pub name: String,
}

/// What links to the peer use.
#[derive(Debug)]
pub struct PeerTls {
    settings: PeerSettings,
    loaded: RwLock<Loaded>,
}

/// The certificates in use.
#[derive(Debug)]
struct Loaded {
    name: ServerName<'static>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl PartialEq for PeerTls {
    fn eq(&self, other: &PeerTls) -> bool {
        self.settings == other.settings
    }
}

impl PeerTls {
    /// Loads the certificates.
    ///
    /// # Errors
    /// Which file can't be used and why.
    pub fn load(settings: PeerSettings) -> Result<PeerTls, LoadError> {
        let loaded = RwLock::new(Loaded::new(&settings)?);
        Ok(PeerTls { settings, loaded })
    }

    /// Loads them again, for the links to come, and logs that and who asked.
    ///
    /// # Errors
    /// Which file can't be used and why; the certificates from before stay in use.
    pub fn refresh(&self, by: &str) -> Result<(), LoadError> {
        let loaded = Loaded::new(&self.settings).inspect_err(|error| {
            let error = error.to_string();
            log::error!(
                "event=link_certificates_failed by={by} error={error:?} \
                 kept=\"those from before\""
            );
        })?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        log::info!("event=link_certificates_loaded by={by} next=\"for links to come\"");
        Ok(())
    }

    /// The side of a connection that dialled.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn dialled(&self) -> Result<Connection, Error> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let session = ClientConnection::new(Arc::clone(&loaded.client), loaded.name.clone())?;
        Ok(unlimited(Connection::Client(session)))
    }

    /// The side of a connection that was dialled.
    ///
    /// # Errors
    /// What does not fit together.
    pub fn accepted(&self) -> Result<Connection, Error> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let session = ServerConnection::new(Arc::clone(&loaded.server))?;
        Ok(unlimited(Connection::Server(session)))
    }
}

/// What is to be sealed is bounded by who has it sealed.
fn unlimited(mut session: Connection) -> Connection {
    session.set_buffer_limit(None);
    session
}

impl Loaded {
    fn new(settings: &PeerSettings) -> Result<Loaded, LoadError> {
        let setup = |error: &dyn std::error::Error| LoadError::Setup(error.to_string());
        let from_root = std::path::Path::new("");
        let provider = Arc::new(ring::default_provider());
        let key = (&*settings.key, PEM);
        let identity = files::identity(&settings.chain_cert, key, from_root, &provider)?;
        let roots = Arc::new(files::authorities(&settings.ca_cert, from_root)?);
        let name = ServerName::try_from(settings.name.clone())
            .map_err(|_| LoadError::Name(settings.name.clone()))?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| setup(&error))?;

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| setup(&error))?
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_client_cert_resolver(Arc::clone(&identity) as _);
        client.resumption = Resumption::disabled();
        // The name would cross the network for all to read.
        client.enable_sni = false;

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| setup(&error))?
            .with_client_cert_verifier(Arc::new(Dialler { verifier, name: name.clone() }))
            .with_cert_resolver(identity as _);
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Loaded { name, client: Arc::new(client), server: Arc::new(server) })
    }
}

/// Takes the certificate of whoever dialled as that of a host is taken which was dialled: a
/// certificate that the authority made for somebody else opens nothing.
#[derive(Debug)]
struct Dialler {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for Dialler {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whose certificates are taken is nobody's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, &self.name, &[], now)
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The side of a node with the certificate of `own`, whose peer is called `peer`.
    fn node(own: &str, peer: &str) -> PeerTls {
        let file = |name: &str| {
            PathBuf::from(format!("{}/tests/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR")))
        };
        PeerTls::load(PeerSettings {
            chain_cert: file(own),
            key: file(&format!("{own}-key")),
            ca_cert: file("authority"),
            name: peer.to_owned(),
        })
        .unwrap()
    }

    /// Passes on what the two say until neither has more; the first error of each.
    fn meet(dialled: &PeerTls, accepted: &PeerTls) -> [Result<(), Error>; 2] {
        let mut sides = [dialled.dialled().unwrap(), accepted.accepted().unwrap()];
        let mut results = [Ok(()), Ok(())];
        for turn in [0, 1, 0, 1, 0, 1] {
            let mut said = Vec::new();
            while sides[turn].wants_write() {
                sides[turn].write_tls(&mut said).unwrap();
            }
            let mut said = &said[..];
            while !said.is_empty() && results[1 - turn].is_ok() {
                sides[1 - turn].read_tls(&mut said).unwrap();
                results[1 - turn] = sides[1 - turn].process_new_packets().map(drop);
            }
        }
        results
    }

    #[test]
    fn two_that_know_each_other_meet_whoever_dials() {
        let (one, other) = (node("one", "other.example"), node("other", "one.example"));
        assert_eq!(meet(&one, &other), [Ok(()), Ok(())]);
        assert_eq!(meet(&other, &one), [Ok(()), Ok(())]);
    }

    #[test]
    fn a_certificate_for_another_name_is_refused_whoever_dials() {
        let (one, other) = (node("one", "third.example"), node("other", "one.example"));
        let refused = |result: &Result<(), Error>| matches!(result, Err(Error::InvalidCertificate(error)) if error.to_string().contains("third.example"));
        let [dialled, accepted] = meet(&one, &other);
        assert!(refused(&dialled) && matches!(accepted, Err(Error::AlertReceived(_))));
        let [dialled, accepted] = meet(&other, &one);
        assert!(refused(&accepted) && matches!(dialled, Err(Error::AlertReceived(_))));
    }

    #[test]
    fn a_certificate_by_another_authority_is_refused_whoever_dials() {
        let (one, forged) = (node("one", "other.example"), node("forged", "one.example"));
        assert!(matches!(meet(&one, &forged)[0], Err(Error::InvalidCertificate(_))));
        assert!(matches!(meet(&forged, &one)[1], Err(Error::InvalidCertificate(_))));
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let settings = node("one", "other.example").settings;
        let key = settings.key.with_file_name("other-key.pem");
        let error = PeerTls::load(PeerSettings { key, ..settings.clone() }).unwrap_err();
        assert!(error.to_string().contains("not the key of the certificate"), "{error}");
        let error = PeerTls::load(PeerSettings { name: "no name".into(), ..settings }).unwrap_err();
        assert!(matches!(error, LoadError::Name(_)));
    }
}
