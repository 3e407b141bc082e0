//! `/etc/paircached/paircached.toml`: what memcached has no name for.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::address;
use super::settings::Settings;
use super::source::Source;
use super::tls::{FORMATS, VERIFY_MODES, VERSIONS};
use super::value::{self, ATOMIC_OPS, FACILITIES, LEVELS, MODES, NODES, TARGETS};

/// Sections and their keys, for looking up and for advice.
const SECTIONS: [(&str, &[&str]); 5] = [
    (
        "tls",
        &[
            "enabled",
            "chain_cert",
            "key",
            "keyformat",
            "verify_mode",
            "ca_cert",
            "session_cache",
            "min_version",
        ],
    ),
    (
        "replication",
        &[
            "peer",
            "port",
            "listen",
            "node",
            "cluster",
            "atomic_ops",
            "durability",
            "durability_timeout",
            "secret_file",
            "tls_chain_cert",
            "tls_key",
            "tls_ca_cert",
            "tls_peer_name",
            "tombstone_memory",
            "window",
            "max_clock_skew",
            "drain_timeout",
        ],
    ),
    ("monitor", &["listen", "peer"]),
    ("auth", &["ascii_file", "sasl", "sasl_file"]),
    ("log", &["target", "facility", "level"]),
];

/// Takes the file's settings over; returns its faults, by line.
pub(super) fn apply(text: &str, name: &Rc<str>, settings: &mut Settings) -> Vec<(usize, String)> {
    let line_of = |at: usize| {
        1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count()
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<(usize, String)> = Vec::new();
    for error in &errors {
        let line = line_of(error.span().map_or(0, |span| span.start));
        let message = error.message().replace('\n', ", ");
        faults.push((line, format!("not TOML: {message}; see paircached.toml(5)")));
    }
    if !faults.is_empty() {
        faults.sort_by_key(|(line, _)| *line);
        // What could be read of a broken file would only give rise to more complaints.
        return faults;
    }
    for (section, content) in root.get_ref() {
        let line = line_of(section.span().start);
        let section: &str = section.get_ref();
        let Some((_, keys)) = SECTIONS.iter().find(|(known, _)| *known == section) else {
            faults.push((line, unknown_section(section, content)));
            continue;
        };
        let Some(table) = content.get_ref().as_table() else {
            faults.push((line, format!("{section} is a section; write [{section}]")));
            continue;
        };
        for (key, value) in table {
            let line = line_of(key.span().start);
            let key: &str = key.get_ref();
            let source = Source::File(name.clone(), line);
            let result = match keys.contains(&key) {
                true => set(section, key, value.get_ref(), settings, &source)
                    .map_err(|what| format!("{section}.{key} {what}")),
                false => Err(unknown_key(section, key, keys)),
            };
            if let Err(what) = result {
                faults.push((line, what));
            }
        }
    }
    faults.sort_by_key(|(line, _)| *line);
    faults
}

fn set(
    section: &str,
    key: &str,
    value: &DeValue<'_>,
    settings: &mut Settings,
    source: &Source,
) -> Result<(), String> {
    let tls = &mut settings.tls;
    match (section, key) {
        ("replication", "peer") => {
            let peer = address::peer(string(value)?);
            let peer = peer.map_err(|complaint| wrong(value, &complaint.remedy))?;
            settings.peer.put(Some(peer), source);
        }
        ("replication", "port") => {
            let port = integer(value).and_then(|number| u16::try_from(number).ok());
            let port = port.filter(|port| *port > 0);
            let port = port.ok_or_else(|| wrong(value, "write a number from 1 to 65535"))?;
            settings.replication_port.put(port, source);
        }
        ("replication", "listen") => settings.replication_listen.put(addresses(value)?, source),
        ("replication", "node") => settings.node.put(named(&NODES, value)?, source),
        ("replication", "cluster") => {
            let cluster = string(value)?;
            let fits =
                (1..=64).contains(&cluster.len()) && cluster.bytes().all(|b| b.is_ascii_graphic());
            if !fits {
                return Err(wrong(value, "write 1 to 64 letters, digits or signs, no spaces"));
            }
            settings.cluster.put(String::from(cluster), source);
        }
        ("replication", "secret_file") => settings.secret_file.put(Some(file(value)?), source),
        ("replication", "tls_chain_cert") => {
            settings.link_tls.chain_cert.put(Some(file(value)?), source);
        }
        ("replication", "tls_key") => settings.link_tls.key.put(Some(file(value)?), source),
        ("replication", "tls_ca_cert") => settings.link_tls.ca_cert.put(Some(file(value)?), source),
        ("replication", "tls_peer_name") => {
            settings.link_tls.peer_name.put(Some(string(value)?.to_owned()), source);
        }
        ("replication", "atomic_ops") => {
            settings.atomic_ops.put(named(&ATOMIC_OPS, value)?, source);
        }
        ("replication", "durability") => settings.durability.put(named(&MODES, value)?, source),
        ("replication", "durability_timeout") => {
            settings.durability_timeout.put(seconds(value, 0.001, 60.0)?, source);
        }
        ("replication", "tombstone_memory") => settings.tombstone_memory.put(size(value)?, source),
        ("replication", "window") => settings.window.put(size(value)?, source),
        ("replication", "max_clock_skew") => {
            settings.max_clock_skew.put(seconds(value, 0.1, 86_400.0)?, source);
        }
        ("replication", "drain_timeout") => {
            settings.drain_timeout.put(seconds(value, 0.0, 3600.0)?, source);
        }
        ("monitor", "listen") => settings.monitor_listen.put(endpoints(value)?, source),
        ("monitor", "peer") => {
            let peer = string(value)?;
            let peer = address::endpoint(peer).ok_or_else(|| wrong(value, ENDPOINT))?;
            settings.monitor_peer.put(Some(peer), source);
        }
        ("tls", "enabled") => tls.enabled.put(boolean(value)?, source),
        ("tls", "chain_cert") => tls.chain_cert.put(Some(file(value)?), source),
        ("tls", "key") => tls.key.put(Some(file(value)?), source),
        ("tls", "keyformat") => tls.key_format.put(named(&FORMATS, value)?, source),
        ("tls", "verify_mode") => tls.verify.put(named(&VERIFY_MODES, value)?, source),
        ("tls", "ca_cert") => tls.ca_cert.put(Some(file(value)?), source),
        ("tls", "session_cache") => tls.session_cache.put(boolean(value)?, source),
        ("tls", "min_version") => tls.min_version.put(named(&VERSIONS, value)?, source),
        ("auth", "ascii_file") => settings.ascii_file.put(Some(file(value)?), source),
        ("auth", "sasl") => settings.sasl.put(boolean(value)?, source),
        ("auth", "sasl_file") => settings.sasl_file.put(Some(file(value)?), source),
        ("log", "target") => settings.log_target.put(named(&TARGETS, value)?, source),
        ("log", "facility") => settings.log_facility.put(named(&FACILITIES, value)?, source),
        ("log", "level") => settings.log_level.put(named(&LEVELS, value)?, source),
        _ => {}
    }
    Ok(())
}

/// Names the value and says what to write.
fn wrong(value: &DeValue<'_>, remedy: &str) -> String {
    let shown = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => String::from(number.as_str()),
        DeValue::Float(number) => String::from(number.as_str()),
        DeValue::Boolean(truth) => truth.to_string(),
        other => format!("this {}", other.type_str()),
    };
    format!("cannot be {shown}; {remedy}")
}

fn string<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong(value, "write text in quotes"))
}

fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong(value, "write true or false"))
}

fn file(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = string(value)?;
    if path.is_empty() { Err(wrong(value, "write the name of a file")) } else { Ok(path.into()) }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn named<T: Copy>(names: &[(&str, T)], value: &DeValue<'_>) -> Result<T, String> {
    let text = value.as_str().unwrap_or_default();
    value::one_of(names, text).map_err(|names| wrong(value, &format!("write one of {names}")))
}

/// Bytes, as a number or as text such as `"16m"`.
fn size(value: &DeValue<'_>) -> Result<u64, String> {
    let bytes = match value {
        DeValue::String(text) => value::size(text),
        _ => integer(value).and_then(|number| u64::try_from(number).ok()),
    };
    let bytes = bytes.filter(|bytes| (1024..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| wrong(value, "write a size of at least 1k, such as \"16m\""))
}

fn seconds(value: &DeValue<'_>, least: f64, most: f64) -> Result<Duration, String> {
    let number = match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => integer(value).map(|number| number as f64),
    };
    match number.filter(|number: &f64| (least..=most).contains(number)) {
        Some(number) => Ok(Duration::from_secs_f64(number)),
        None => Err(wrong(value, &format!("write seconds, from {least} to {most}"))),
    }
}

/// What an address with a port looks like.
const ENDPOINT: &str = "write HOST:PORT or [IPV6]:PORT";

/// One address with a port, or a list of them.
fn endpoints(value: &DeValue<'_>) -> Result<Vec<(String, u16)>, String> {
    let one = |value: &DeValue<'_>| {
        let endpoint = value.as_str().and_then(address::endpoint);
        endpoint.ok_or_else(|| wrong(value, ENDPOINT))
    };
    match value.as_array() {
        Some(list) => list.iter().map(|value| one(value.get_ref())).collect(),
        None => Ok(vec![one(value)?]),
    }
}

/// One address or a list of them.
fn addresses(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let one = |value: &DeValue<'_>| {
        let address = value.as_str().and_then(address::address);
        address
            .ok_or_else(|| wrong(value, "write addresses without a port, such as [\"192.0.2.1\"]"))
    };
    match value.as_array() {
        Some(list) => list.iter().map(|value| one(value.get_ref())).collect(),
        None => Ok(vec![one(value)?]),
    }
}

fn unknown_section(name: &str, content: &Spanned<DeValue<'_>>) -> String {
    let names: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
    if content.get_ref().is_table() {
        return format!("unknown section [{name}]; {}", advice(name, &names, "sections"));
    }
    match home(name) {
        Some(section) => format!("{name} stands in no section; put it below [{section}]"),
        None => {
            format!("unknown key {name} outside a section; {}", advice(name, &names, "sections"))
        }
    }
}

fn unknown_key(section: &str, key: &str, keys: &[&str]) -> String {
    match home(key) {
        Some(other) => format!("unknown key {section}.{key}; put it below [{other}]"),
        None => format!("unknown key {section}.{key}; {}", advice(key, keys, "keys")),
    }
}

/// The section that knows `key`.
fn home(key: &str) -> Option<&'static str> {
    SECTIONS.iter().find(|(_, keys)| keys.contains(&key)).map(|(section, _)| *section)
}

/// The nearest name, or all of them when none is near.
fn advice(wrong: &str, names: &[&str], what: &str) -> String {
    let distance = |name: &&&str| strsim::damerau_levenshtein(wrong, name);
    match names.iter().min_by_key(distance) {
        Some(name) if distance(&name) <= wrong.len().max(name.len()) / 2 => {
            format!("did you mean {name}?")
        }
        _ => format!("the {what} are {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::show;

    #[test]
    fn check_config_shows_every_key() {
        let shown = show::show(&Settings::default());
        let shown: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name)
            .filter(|name| name.contains('.'))
            .collect();
        let known: Vec<String> = SECTIONS
            .iter()
            .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{key}")))
            .collect();
        assert_eq!(shown, known);
    }
}
