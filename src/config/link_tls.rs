//! `[replication]` `tls_*`: the certificates of the link, in place of a shared secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FAULTY;
use super::settings::Settings;
use super::source::{Set, Source};
use super::value::Complaint;
use crate::tls::{LoadError, PeerSettings, PeerTls};

/// What was said about them.
#[derive(Clone, Debug)]
pub(super) struct LinkTls {
    pub(super) chain_cert: Set<Option<PathBuf>>,
    pub(super) key: Set<Option<PathBuf>>,
    pub(super) ca_cert: Set<Option<PathBuf>>,
    pub(super) peer_name: Set<Option<String>>,
}

impl Default for LinkTls {
    fn default() -> LinkTls {
        LinkTls {
            chain_cert: Set::new(None),
            key: Set::new(None),
            ca_cert: Set::new(None),
            peer_name: Set::new(None),
        }
    }
}

impl LinkTls {
    /// The files with their names; relative ones start from `directory`.
    pub(super) fn locate(&mut self, directory: &Path) {
        for file in [&mut self.chain_cert, &mut self.key, &mut self.ca_cert] {
            if let Some(path) = &mut file.value {
                *path = directory.join(&path);
            }
        }
    }

    /// All of them together, if they are complete; `host` is the peer.
    pub(super) fn complete(&self, host: &str) -> Option<PeerSettings> {
        Some(PeerSettings {
            chain_cert: self.chain_cert.value.clone()?,
            key: self.key.value.clone()?,
            ca_cert: self.ca_cert.value.clone()?,
            name: self.peer_name.value.as_deref().unwrap_or(host).to_owned(),
        })
    }

    /// Where the first of them was given, if any was.
    pub(super) fn source(&self) -> Option<&Source> {
        let Self { chain_cert, key, ca_cert, peer_name } = self;
        let files = [chain_cert, key, ca_cert];
        let given = files.into_iter().find(|file| file.value.is_some()).map(|file| &file.source);
        given.or_else(|| peer_name.value.is_some().then_some(&peer_name.source))
    }
}

/// What of them does not suit the rest. The files are looked at when they are loaded.
pub(super) fn check(settings: &Settings) -> Option<(Source, Complaint)> {
    let LinkTls { chain_cert, key, ca_cert, .. } = &settings.link_tls;
    let source = settings.link_tls.source()?.clone();
    let complain = |what: String, remedy| Some((source, Complaint::new(FAULTY, what, remedy)));
    if settings.secret_file.value.is_some() {
        let secret = &settings.secret_file.source;
        let what = format!("the link is sealed twice: by certificates and by a secret ({secret})");
        return complain(what, "leave out tls_* or secret_file, on both nodes");
    }
    let files = [("tls_chain_cert", chain_cert), ("tls_key", key), ("tls_ca_cert", ca_cert)];
    let missing = files.into_iter().find(|(_, file)| file.value.is_none());
    missing.and_then(|(name, _)| {
        let what = format!("the link's certificates are not complete: {name} is not set");
        complain(what, "set tls_chain_cert, tls_key and tls_ca_cert, on both nodes")
    })
}

/// The certificates, if there are to be some.
pub(super) fn read(settings: &Settings) -> Result<Option<Arc<PeerTls>>, (Source, Complaint)> {
    let host = settings.peer.value.as_ref().map(|(host, _)| &**host);
    let Some(complete) = host.and_then(|host| settings.link_tls.complete(host)) else {
        return Ok(None);
    };
    let LinkTls { chain_cert, key, ca_cert, peer_name } = &settings.link_tls;
    PeerTls::load(complete).map(|tls| Some(Arc::new(tls))).map_err(|error| {
        let (source, remedy) = match error {
            LoadError::Chain(..) | LoadError::Match(_) | LoadError::Setup(_) => {
                (&chain_cert.source, "let tls_chain_cert name this node's certificate, in PEM")
            }
            LoadError::Key(..) => (&key.source, "let tls_key name the certificate's key, in PEM"),
            LoadError::Ca(..) => {
                (&ca_cert.source, "let tls_ca_cert name the authority's certificate, in PEM")
            }
            LoadError::Name(_) if peer_name.value.is_some() => {
                (&peer_name.source, "write what the peer's certificate is made out to")
            }
            LoadError::Name(_) => {
                (&settings.peer.source, "set tls_peer_name to what its certificate is made out to")
            }
        };
        let what = format!("the certificates of the link: {error}");
        (source.clone(), Complaint::new(FAULTY, what, remedy))
    })
}
