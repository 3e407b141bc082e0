//! A node's address.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::tls::Config;

const PORT: u16 = 11211;

/// Where a node is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Tcp(String, u16),
    Tls(String, u16, Config),
    Unix(PathBuf),
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let wrong = || String::from("write HOST, HOST:PORT, [IPV6]:PORT or the path of a socket");
        if text.contains('/') {
            return Ok(Server::Unix(PathBuf::from(text)));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']').ok_or_else(wrong)? {
                (host, "") => (host, None),
                (host, rest) => (host, Some(rest.strip_prefix(':').ok_or_else(wrong)?)),
            },
            None if text.matches(':').count() > 1 => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| wrong()))?;
        match host.is_empty() || port == 0 {
            true => Err(wrong()),
            false => Ok(Server::Tcp(String::from(host), port)),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Tcp(host, port) | Server::Tls(host, port, _) => match host.contains(':') {
                true => write!(f, "[{host}]:{port}"),
                false => write!(f, "{host}:{port}"),
            },
            Server::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_an_address_is_understood() {
        let tcp = |host: &str, port| Ok(Server::Tcp(String::from(host), port));
        assert_eq!("node1".parse(), tcp("node1", 11211));
        assert_eq!("node1:11311".parse(), tcp("node1", 11311));
        assert_eq!("::1".parse(), tcp("::1", 11211));
        assert_eq!("[::1]".parse(), tcp("::1", 11211));
        assert_eq!("[::1]:5".parse(), tcp("::1", 5));
        assert_eq!("./socket".parse(), Ok(Server::Unix("./socket".into())));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", ":1", "h:", "h:x", "h:0", "h:65536", "[::1", "[::1]5"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
