//! TLS to the nodes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use paircached::tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::server::Server;

/// How to speak TLS.
#[derive(Args)]
pub(crate) struct Options {
    /// Speak TLS to nodes that are not Unix sockets
    #[arg(long, requires = "ca")]
    tls: bool,
    /// Certificates, one of which has to vouch for a node's, in PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
    /// Certificate to show to nodes that ask for one, in PEM
    #[arg(long, value_name = "FILE", requires = "key", requires = "tls")]
    cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Options {
    /// The servers as they are to be spoken to. The error says which file cannot be used.
    pub(crate) fn secure(&self, servers: Vec<Server>) -> Result<Vec<Server>, String> {
        let Some(authorities) = &self.ca else {
            return Ok(servers);
        };
        let identity = self.cert.as_deref().zip(self.key.as_deref());
        let config = tls::client(authorities, identity).map_err(|error| error.to_string())?;
        let secure = |server| match server {
            Server::Tcp(host, port) => Server::Tls(host, port, Config(Arc::clone(&config))),
            other => other,
        };
        Ok(servers.into_iter().map(secure).collect())
    }
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Config(pub(crate) Arc<ClientConfig>);

impl PartialEq for Config {
    fn eq(&self, other: &Config) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Config {}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Config")
    }
}

/// The name that a node's certificate has to be for.
pub(crate) fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(String::from(host)).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "no certificate can be for this name")
    })
}
