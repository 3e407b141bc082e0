//! Addresses: those of `-l` with what stands before them, the peer's, and where it is listened to.

use super::value::{Checked, Complaint, fixed_port};
use super::{Listen, Place, Protocol};
use crate::server::Tag;
use crate::tls::TlsMode;

const USAGE: u8 = 64;
const OS_ERROR: u8 = 71;

static TLS_MODES: [TlsMode; 3] = [TlsMode::Plain, TlsMode::ServerOnly, TlsMode::Mutual];

/// As memcached has them: the beginning of a name is enough, and of the first that it fits.
static PROTOCOLS: [(&str, Option<Protocol>); 4] = [
    ("ascii", Some(Protocol::Ascii)),
    ("binary", Some(Protocol::Binary)),
    ("negotiating", Some(Protocol::Auto)),
    ("proxy", None),
];

/// `-l`: addresses separated by commas or semicolons.
pub(super) fn listen(list: &str) -> Checked<Vec<Listen>> {
    // As with strtok, nothing between two commas is no entry.
    let entries: Vec<&str> =
        list.split([',', ';']).map(str::trim).filter(|entry| !entry.is_empty()).collect();
    let parsed = match entries[..] {
        [] => Err(String::from("Invalid address: \"\"")),
        _ => entries.into_iter().map(listen_one).collect(),
    };
    parsed.map_err(|what| {
        Complaint::new(
            OS_ERROR,
            format!("{what}\nfailed to listen on one of interface(s) {list}"),
            "write HOST, HOST:PORT, an IPv6 address, [IPV6]:PORT or /PATH",
        )
    })
}

/// The error is what is wrong, in memcached's words where it has some.
fn listen_one(entry: &str) -> Result<Listen, String> {
    let (tls, rest) = tls_mode(entry);
    let (protocol, rest) = protocol(rest)?;
    let (tag, rest) = tag(rest)?;
    let place = place(rest)?;
    Ok(Listen { text: String::from(entry), place, protocol, tag, tls })
}

fn tls_mode(text: &str) -> (Option<TlsMode>, &str) {
    let mut found = TLS_MODES.iter().filter_map(|mode| {
        let rest = text.strip_prefix(mode.name())?.strip_prefix(':')?;
        Some((Some(*mode), rest))
    });
    found.next().unwrap_or((None, text))
}

fn protocol(text: &str) -> Result<(Option<Protocol>, &str), String> {
    let Some(rest) = text.strip_prefix("proto[") else {
        return Ok((None, text));
    };
    let wrong = || format!("Invalid protocol spec: \"{text}\"");
    let (name, rest) = rest.split_once("]:").ok_or_else(wrong)?;
    let known = PROTOCOLS.iter().find(|(known, _)| !name.is_empty() && known.starts_with(name));
    match known {
        Some((_, Some(protocol))) => Ok((Some(*protocol), rest)),
        Some((_, None)) => Err(format!("Server not built with proxy: \"{text}\"")),
        None => Err(wrong()),
    }
}

fn tag(text: &str) -> Result<(Option<Tag>, &str), String> {
    let (rest, end) = if let Some(rest) = text.strip_prefix("tag[") {
        (rest, "]:")
    } else if let Some(rest) = text.strip_prefix("tag_") {
        (rest, "_:")
    } else {
        return Ok((None, text));
    };
    let found = rest.split_once(end);
    let (name, rest) = found.ok_or_else(|| format!("Invalid tag in socket config: \"{text}\""))?;
    match Tag::new(name) {
        Some(tag) => Ok((Some(tag), rest)),
        None => Err(format!("Listener tags must be between 1 and 8 characters: \"{name}\"")),
    }
}

fn place(text: &str) -> Result<Place, String> {
    if text.starts_with('/') {
        return Ok(Place::Unix(text.into()));
    }
    let (host, port) = host_and_port(text).ok_or_else(|| format!("Invalid address: \"{text}\""))?;
    let port = match port {
        Some("-1") => Some(0),
        Some(text) => Some(text.parse().map_err(|_| format!("Invalid port number: \"{text}\""))?),
        None => None,
    };
    Ok(Place::Inet { host, port })
}

/// `-x` and `peer`: the host, and its replication port if it says one.
pub(super) fn peer(text: &str) -> Checked<(String, Option<u16>)> {
    let wrong = || {
        Complaint::new(
            USAGE,
            format!("ERROR: Invalid replication peer {text:?}."),
            "write HOST, HOST:PORT, an IPv6 address or [IPV6]:PORT",
        )
    };
    let (host, port) = host_and_port(text.trim()).ok_or_else(wrong)?;
    if host == "*" {
        return Err(wrong());
    }
    let port = port.map(fixed_port).transpose()?;
    Ok((host, port))
}

/// A single address of `listen` in `[replication]`.
pub(super) fn address(text: &str) -> Option<String> {
    match host_and_port(text.trim())? {
        (host, None) => Some(host),
        _ => None,
    }
}

/// An address with a port, of `[monitor]`.
pub(super) fn endpoint(text: &str) -> Option<(String, u16)> {
    match host_and_port(text.trim())? {
        (host, Some(port)) => Some((host, fixed_port(port).ok()?)),
        _ => None,
    }
}

/// Takes brackets off and the port apart. The host is checked as far as that goes without asking
/// a name server.
fn host_and_port(text: &str) -> Option<(String, Option<&str>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':')?),
        };
        is_v6(host).then_some((host, port))?
    } else if text.matches(':').count() > 1 {
        is_v6(text).then_some((text, None))?
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let allowed = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    let numeric = host.split('.').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let bad_v4 =
        numeric && host.split('.').count() == 4 && host.parse::<std::net::Ipv4Addr>().is_err();
    let fits = host == "*" || (!host.is_empty() && host.chars().all(allowed) && !bad_v4);
    fits.then(|| (String::from(host), port))
}

/// With or without a scope such as `%eth0`.
fn is_v6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<std::net::Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Listen {
        let mut list = listen(text).unwrap();
        assert_eq!(list.len(), 1, "{text}");
        list.remove(0)
    }

    fn inet(host: &str, port: Option<u16>) -> Place {
        Place::Inet { host: String::from(host), port }
    }

    #[test]
    fn hosts_and_ports_come_apart() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:11300", "127.0.0.1", Some(11300)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:11300", "::1", Some(11300)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("*", "*", None),
            ("*:0", "*", Some(0)),
            ("cache.example:-1", "cache.example", Some(0)),
            // Only with the sign that ends them are these words more than names.
            ("tagged:5", "tagged", Some(5)),
            ("protocol", "protocol", None),
            ("notls", "notls", None),
        ] {
            assert_eq!(one(text).place, inet(host, port), "{text}");
            assert_eq!(one(text).text, text);
        }
        assert_eq!(one("/run/a:b[c]").place, Place::Unix("/run/a:b[c]".into()));
    }

    #[test]
    fn what_stands_before_an_address_is_taken_off_it() {
        let all = one("mtls:proto[binary]:tag[b]:[::1]:5");
        assert_eq!(all.place, inet("::1", Some(5)));
        assert_eq!((all.tls, all.protocol), (Some(TlsMode::Mutual), Some(Protocol::Binary)));
        assert_eq!(all.tag, Tag::new("b"));
        assert_eq!(one("notls:h").tls, Some(TlsMode::Plain));
        assert_eq!(one("btls:h").tls, Some(TlsMode::ServerOnly));
        assert_eq!(one("proto[asc]:h").protocol, Some(Protocol::Ascii));
        assert_eq!(one("proto[n]:h").protocol, Some(Protocol::Auto));
        assert_eq!(one("tag_12345678_:/s").tag, Tag::new("12345678"));
        assert_eq!(one("h").tag, None);
    }

    #[test]
    fn what_cannot_be_an_address_is_named() {
        for (text, what) in [
            ("", "Invalid address: \"\""),
            (",;", "Invalid address: \"\""),
            ("h:99999", "Invalid port number: \"99999\""),
            ("[::1", "Invalid address: \"[::1\""),
            ("1:2:3", "Invalid address: \"1:2:3\""),
            ("proto[asci:h", "Invalid protocol spec: \"proto[asci:h\""),
            ("proto[]:h", "Invalid protocol spec: \"proto[]:h\""),
            ("proto[typo]:h", "Invalid protocol spec: \"proto[typo]:h\""),
            ("proto[proxy]:h", "Server not built with proxy: \"proto[proxy]:h\""),
            ("tag[a:h", "Invalid tag in socket config: \"tag[a:h\""),
            ("tag[]:h", "Listener tags must be between 1 and 8 characters: \"\""),
            ("tag_123456789_:h", "Listener tags must be between 1 and 8 characters: \"123456789\""),
            // Another order than memcached's.
            ("tag[a]:proto[ascii]:h", "Invalid address: \"proto[ascii]:h\""),
            ("proto[ascii]:", "Invalid address: \"\""),
        ] {
            let complaint = listen(text).unwrap_err();
            let last = format!("failed to listen on one of interface(s) {text}");
            assert_eq!((complaint.code, complaint.what), (71, format!("{what}\n{last}")));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC*", odd in "[a-z0-9:,;_\\[\\]*./%-]{0,40}") {
            let _ = (listen(&text), listen(&odd), peer(&text), peer(&odd), address(&odd));
        }

        #[test]
        fn what_is_given_comes_back(
            tls in prop_oneof![Just(""), Just("notls:"), Just("btls:"), Just("mtls:")],
            name in "[!-Z^-~]{1,8}", port in any::<u16>(),
        ) {
            prop_assume!(!name.contains([',', ';']));
            let listen = one(&format!("{tls}proto[ascii]:tag[{name}]:h:{port}"));
            prop_assert_eq!(listen.tls.is_some(), !tls.is_empty());
            prop_assert_eq!(listen.tag, Tag::new(&name));
            prop_assert_eq!(listen.place, inet("h", Some(port)));
        }
    }
}
