//! What keeps others off the link.

use super::secret::Current;
use crate::tls::PeerTls;
use std::sync::Arc;

/// How the link is sealed: by one thing or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seal {
    /// It is not: whoever reaches the port is believed.
    #[default]
    None,
    /// Both nodes know it.
    Secret(Arc<Current>),
    /// Both nodes show a certificate.
    Certificates(Arc<PeerTls>),
}

impl Seal {
    /// The word for it in the statistics.
    pub fn name(&self) -> &'static str {
        match self {
            Seal::None => "none",
            Seal::Secret(_) => "secret",
            Seal::Certificates(_) => "tls",
        }
    }

    /// The secret, if it is one.
    pub fn secret(&self) -> Option<&Arc<Current>> {
        match self {
            Seal::Secret(secret) => Some(secret),
            Seal::None | Seal::Certificates(_) => None,
        }
    }

    /// The certificates, if it is those.
    pub fn certificates(&self) -> Option<&Arc<PeerTls>> {
        match self {
            Seal::Certificates(tls) => Some(tls),
            Seal::None | Seal::Secret(_) => None,
        }
    }
}
