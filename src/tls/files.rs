//! Certificates and keys in files.

use super::{DER, PEM};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use std::io;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error as ThisError;

/// A file is not larger: what is named by mistake must not fill the memory.
const FILE_MAX: u64 = 4 << 20;

/// Said of a key that can't be used.
const KINDS: &str = "this kind of key is not supported; use RSA from 2048 bits, ECDSA on P-256 or \
                     P-384, or Ed25519";

/// The certificate and its key.
pub(super) type Identity = Arc<SingleCertAndKey>;

/// Certificates that can't be used. Begins as memcached does, then says why and what to do.
#[derive(Debug, ThisError)]
pub enum LoadError {
    /// `ssl_chain_cert`.
    #[error("Error loading the certificate chain: {0} : {1}")]
    Chain(String, String),
    /// `ssl_key`.
    #[error("Error loading the key: {0} : {1}")]
    Key(String, String),
    /// The certificate and the key.
    #[error("Error validating the certificate: {0}")]
    Match(String),
    /// `ssl_ca_cert`.
    #[error("Error loading the CA certificate: {0} : {1}")]
    Ca(String, String),
    /// What the peer is called.
    #[error("Error in the peer's name: {0} is no name or address that a certificate can have")]
    Name(String),
    /// What they make together.
    #[error("Error setting up TLS: {0}")]
    Setup(String),
}

/// Reads the chain and the key, and sees that they belong together.
pub(super) fn identity(
    chain_file: &Path,
    (key_file, key_format): (&Path, i32),
    directory: &Path,
    provider: &CryptoProvider,
) -> Result<Identity, LoadError> {
    let chain = chain(chain_file, directory)?;
    let key = key(key_file, key_format, directory)?;
    let unfit = |reason: String| LoadError::Key(key_file.display().to_string(), reason);
    let key = provider.key_provider.load_private_key(key).map_err(|_| unfit(KINDS.to_owned()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // The server itself need not understand its certificate: clients do or don't.
        Ok(())
        | Err(Error::InconsistentKeys(InconsistentKeys::Unknown))
        | Err(Error::InvalidCertificate(CertificateError::Other(_))) => {}
        Err(Error::InconsistentKeys(_)) => {
            let chain_file = chain_file.display();
            return Err(unfit(format!("it is not the key of the certificate in {chain_file}")));
        }
        Err(error) => return Err(LoadError::Match(error.to_string())),
    }
    Ok(Arc::new(SingleCertAndKey::from(certified)))
}

/// Reads a certificate, and those between it and the root. A relative name starts from `directory`.
pub(super) fn chain(
    name: &Path,
    directory: &Path,
) -> Result<Vec<CertificateDer<'static>>, LoadError> {
    let found = read(&directory.join(name)).and_then(|bytes| certificates(&bytes));
    found.map_err(|reason| LoadError::Chain(name.display().to_string(), reason))
}

/// Reads a private key.
pub(super) fn key(
    name: &Path,
    format: i32,
    directory: &Path,
) -> Result<PrivateKeyDer<'static>, LoadError> {
    let found = read(&directory.join(name)).and_then(|bytes| private_key(&bytes, format));
    found.map_err(|reason| LoadError::Key(name.display().to_string(), reason))
}

/// Reads the certificates that vouch for others.
pub(super) fn authorities(name: &Path, directory: &Path) -> Result<RootCertStore, LoadError> {
    let failed = |reason: String| LoadError::Ca(name.display().to_string(), reason);
    let bytes = read(&directory.join(name)).map_err(failed)?;
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&bytes).map_err(failed)? {
        authorities.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    Ok(authorities)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; let the user {} read it", user()),
        _ => error.to_string(),
    };
    let meta = std::fs::metadata(path).map_err(told)?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err("it is no file of certificates or keys".to_owned());
    }
    std::fs::read(path).map_err(told)
}

/// Who could not read a file.
fn user() -> String {
    let id = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(id).ok().flatten();
    user.map_or_else(|| id.to_string(), |user| user.name)
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in PEM in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("it is not written in PEM: {error}")),
    }
}

fn private_key(bytes: &[u8], format: i32) -> Result<PrivateKeyDer<'static>, String> {
    match format {
        PEM if contains(bytes, b"ENCRYPTED") => {
            Err("it is encrypted, and nobody is there to type its passphrase; write it to a file \
                 of its own with \"openssl pkey -in KEY -out NEW\" and let only the daemon's user \
                 read that"
                .to_owned())
        }
        PEM => PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => "there is no private key in PEM in it".to_owned(),
            error => format!("it is not written in PEM: {error}"),
        }),
        DER => PrivateKeyDer::try_from(bytes.to_vec())
            .map_err(|_| "there is no private key in DER in it".to_owned()),
        _ => Err(format!("ssl_keyformat {format} is not known; 1 is PEM, 2 is DER")),
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(bytes, word).is_some()
}
