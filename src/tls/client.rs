//! TLS as a client: for those who ask a node.

use super::files::{self, LoadError};
use rustls::ClientConfig;
use rustls::crypto::ring;
use std::path::Path;
use std::sync::Arc;

/// How to speak to servers that a certificate in `authorities` vouches for; `identity` is the
/// certificate to show and its key. All in PEM.
///
/// # Errors
/// Which file can't be used and why.
pub fn client(
    authorities: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, LoadError> {
    let setup = |error: rustls::Error| LoadError::Setup(error.to_string());
    // As any program does, from where it was started.
    let here = Path::new("");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(files::authorities(authorities, here)?);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(files::chain(chain, here)?, files::key(key, super::PEM, here)?)
            .map_err(setup)?,
    };
    Ok(Arc::new(config))
}
