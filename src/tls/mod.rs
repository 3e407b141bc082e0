//! TLS: from certificates in files to what a handshake needs. The sockets of clients are in
//! [`server`](crate::server).

#![forbid(unsafe_code)]

mod client;
mod files;
mod peer;
mod session;

pub use client::client;
pub use files::LoadError;
pub use peer::{PeerSettings, PeerTls};

use crate::sparing::Sparing;
use files::Identity;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use session::CountedSessions;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// What `-Z` and the suboptions `ssl_*` ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Serve TLS.
    pub enabled: bool,
    /// The server's certificate and those between it and the root, in PEM.
    pub chain_cert: Option<PathBuf>,
    /// The certificate's private key.
    pub key: Option<PathBuf>,
    /// How that file is written, as OpenSSL numbers it: 1 is PEM, 2 is DER.
    pub key_format: i32,
    /// What is asked of clients.
    pub verify: Verify,
    /// Certificates, in PEM, one of which has to vouch for a client's.
    pub ca_cert: Option<PathBuf>,
    /// Cipher suites in OpenSSL's words; shown and otherwise without effect.
    pub ciphers: Option<String>,
    /// Bytes; shown and otherwise without effect.
    pub wbuf_size: u32,
    /// Let clients resume sessions.
    pub session_cache: bool,
    /// Shown and otherwise without effect.
    pub kernel_tls: bool,
    /// Oldest version that is spoken.
    pub min_version: Version,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            enabled: false,
            chain_cert: None,
            key: None,
            key_format: PEM,
            verify: Verify::None,
            ca_cert: None,
            ciphers: None,
            wbuf_size: 16 << 10,
            session_cache: false,
            kernel_tls: false,
            min_version: Version::Tls12,
        }
    }
}

/// `ssl_keyformat` of a key in PEM.
pub const PEM: i32 = 1;
/// `ssl_keyformat` of a key in DER.
pub const DER: i32 = 2;

/// What is asked of clients: `ssl_verify_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// No certificate.
    None,
    /// A certificate may be shown, and must be good then.
    Request,
    /// A good certificate.
    Require,
    /// The same: there is no renegotiation in which it could be asked for again.
    Once,
}

impl Verify {
    /// As `stats settings` shows it: OpenSSL's bits.
    pub fn bits(self) -> u8 {
        match self {
            Verify::None => 0,
            Verify::Request => 1,
            Verify::Require => 3,
            Verify::Once => 7,
        }
    }
}

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::Tls12 => "tlsv1.2",
            Version::Tls13 => "tlsv1.3",
        })
    }
}

/// Whether clients speak TLS, and who shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS (`notls:`).
    Plain,
    /// The server shows one, clients need none (`btls:`).
    ServerOnly,
    /// Both show one (`mtls:`).
    Mutual,
}

impl TlsMode {
    /// The word for it before an address of `-l`.
    pub fn name(self) -> &'static str {
        match self {
            TlsMode::Plain => "notls",
            TlsMode::ServerOnly => "btls",
            TlsMode::Mutual => "mtls",
        }
    }
}

/// What handshakes use, and what is counted of them.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    /// Where relative paths start from.
    directory: PathBuf,
    loaded: RwLock<Loaded>,
    counters: Arc<Counters>,
    /// Of what clients asked for.
    asked: Sparing,
}

/// Who asks for certificates to be loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The administrator.
    Signal,
    /// Anybody who may use the cache.
    Client,
}

/// The certificates in use.
#[derive(Debug)]
struct Loaded {
    default: Arc<ServerConfig>,
    server_only: Arc<ServerConfig>,
    /// Only with certificates that can vouch for clients.
    mutual: Option<Arc<ServerConfig>>,
    since: Instant,
}

/// What is counted of TLS.
#[derive(Debug, Default)]
pub struct Counters {
    /// Handshakes that failed or took too long.
    pub handshake_errors: AtomicU64,
    /// Conversations that broke the protocol after the handshake.
    pub proto_errors: AtomicU64,
    /// Sessions that clients can resume.
    pub new_sessions: AtomicU64,
}

impl Tls {
    /// Loads the certificates that `settings` name, by paths that start from `directory`.
    ///
    /// # Errors
    /// Which file can't be used and why.
    pub fn load(settings: Settings, directory: PathBuf) -> Result<Tls, LoadError> {
        let counters = Arc::new(Counters::default());
        let loaded = RwLock::new(Loaded::new(&settings, &directory, &counters)?);
        Ok(Tls { settings, directory, loaded, counters, asked: Sparing::new(10) })
    }

    /// Loads them again, for the connections to come, and logs that and who asked, but not of every
    /// client. Sessions from before can't be resumed.
    ///
    /// # Errors
    /// Which file can't be used and why; the certificates from before stay in use.
    pub fn refresh(&self, by: By) -> Result<(), LoadError> {
        let loaded = Loaded::new(&self.settings, &self.directory, &self.counters);
        self.tell(by, loaded.as_ref().err());
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded?;
        Ok(())
    }

    fn tell(&self, by: By, error: Option<&LoadError>) {
        let (who, others) = match by {
            By::Signal => ("SIGHUP", Some(0)),
            By::Client => ("refresh_certs", self.asked.due()),
        };
        let Some(others) = others else { return };
        match error.map(ToString::to_string) {
            None => {
                log::info!("event=certificates_loaded by={who} unmentioned_before={others}");
            }
            Some(error) => log::error!(
                "event=certificates_failed by={who} error={error:?} kept=\"those from before\" \
                 unmentioned_before={others}"
            ),
        }
    }

    /// What a handshake uses; without a mode, as `ssl_verify_mode` says. Nothing when no client can
    /// pass.
    pub fn config(&self, mode: Option<TlsMode>) -> Option<Arc<ServerConfig>> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        match mode {
            None => Some(Arc::clone(&loaded.default)),
            Some(TlsMode::ServerOnly) => Some(Arc::clone(&loaded.server_only)),
            Some(TlsMode::Mutual) => loaded.mutual.clone(),
            Some(TlsMode::Plain) => None,
        }
    }

    /// Whole seconds since the certificates were loaded.
    pub fn age(&self) -> u64 {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.since.elapsed().as_secs()
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether clients can resume sessions.
    pub fn has_sessions(&self) -> bool {
        self.settings.session_cache
    }

    /// Counts a failed handshake.
    pub fn handshake_failed(&self) {
        self.counters.handshake_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a broken conversation.
    pub fn protocol_broken(&self) {
        self.counters.proto_errors.fetch_add(1, Ordering::Relaxed);
    }
}

impl Loaded {
    fn new(
        settings: &Settings,
        directory: &std::path::Path,
        counters: &Arc<Counters>,
    ) -> Result<Loaded, LoadError> {
        let provider = Arc::new(ring::default_provider());
        // Both are named: the configuration has been checked.
        let name = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let (chain, key) = (name(&settings.chain_cert), name(&settings.key));
        let key = (&*key, settings.key_format);
        let identity = files::identity(&chain, key, directory, &provider)?;
        let roots = match &settings.ca_cert {
            Some(file) => Some(Arc::new(files::authorities(file, directory)?)),
            None => None,
        };
        let make = |verify: Verify| {
            build(settings, &provider, &identity, roots.as_ref(), verify, counters)
        };
        Ok(Loaded {
            default: make(settings.verify)?,
            server_only: make(Verify::None)?,
            mutual: roots.is_some().then(|| make(Verify::Require)).transpose()?,
            since: Instant::now(),
        })
    }
}

fn build(
    settings: &Settings,
    provider: &Arc<CryptoProvider>,
    identity: &Identity,
    roots: Option<&Arc<RootCertStore>>,
    verify: Verify,
    counters: &Arc<Counters>,
) -> Result<Arc<ServerConfig>, LoadError> {
    let versions: &[&SupportedProtocolVersion] = match settings.min_version {
        Version::Tls12 => &[&version::TLS13, &version::TLS12],
        Version::Tls13 => &[&version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| LoadError::Setup(error.to_string()))?;
    let builder = match roots.filter(|_| verify != Verify::None) {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::clone(roots),
                Arc::clone(provider),
            );
            let verifier = match verify {
                Verify::Request => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier.build().map_err(|error| LoadError::Setup(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(identity) as _);
    // Each has sessions of its own: one begun without a certificate must not be resumed where
    // certificates are asked for, nor outlive the authority that vouched for the client.
    if settings.session_cache {
        config.session_storage = Arc::new(CountedSessions::new(Arc::clone(counters)));
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
