//! `-Z` and the suboptions `ssl_*`, and the same below `[tls]` in the TOML file.

use super::settings::Settings;
use super::source::{Set, Source};
use super::value::Complaint;
use super::{Listen, Port};
use crate::tls::{self, Verify, Version};
use std::path::PathBuf;

const USAGE: u8 = 64;
const OS_ERROR: u8 = 71;

/// `keyformat` as OpenSSL numbers it.
pub(super) static FORMATS: [(&str, i32); 2] = [("pem", tls::PEM), ("der", tls::DER)];

/// In the order of memcached's numbers for them.
pub(super) static VERIFY_MODES: [(&str, Verify); 4] = [
    ("none", Verify::None),
    ("request", Verify::Request),
    ("require", Verify::Require),
    ("once", Verify::Once),
];

pub(super) static VERSIONS: [(&str, Version); 2] =
    [("tlsv1.2", Version::Tls12), ("tlsv1.3", Version::Tls13)];

/// What was said about TLS.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) enabled: Set<bool>,
    pub(super) chain_cert: Set<Option<PathBuf>>,
    pub(super) key: Set<Option<PathBuf>>,
    pub(super) key_format: Set<i32>,
    pub(super) verify: Set<Verify>,
    pub(super) ca_cert: Set<Option<PathBuf>>,
    pub(super) session_cache: Set<bool>,
    pub(super) min_version: Set<Version>,
    /// Without effect, but shown in `stats settings`.
    ciphers: Option<String>,
    wbuf_size: u32,
    kernel_tls: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        let default = tls::Settings::default();
        Tls {
            enabled: Set::new(default.enabled),
            chain_cert: Set::new(default.chain_cert),
            key: Set::new(default.key),
            key_format: Set::new(default.key_format),
            verify: Set::new(default.verify),
            ca_cert: Set::new(default.ca_cert),
            session_cache: Set::new(default.session_cache),
            min_version: Set::new(default.min_version),
            ciphers: default.ciphers,
            wbuf_size: default.wbuf_size,
            kernel_tls: default.kernel_tls,
        }
    }
}

impl Tls {
    /// Takes over a suboption that has passed its check; whether it was one of these.
    pub(super) fn take(&mut self, name: &str, value: &str, source: &Source) -> bool {
        let file = || Some(PathBuf::from(value));
        let number = || value.trim().parse::<usize>().unwrap_or_default();
        match name {
            "ssl_chain_cert" => self.chain_cert.put(file(), source),
            "ssl_key" => self.key.put(file(), source),
            "ssl_keyformat" => self.key_format.put(value.trim().parse().unwrap_or(0), source),
            "ssl_verify_mode" => {
                let mode = VERIFY_MODES.get(number()).map_or(Verify::Require, |(_, mode)| *mode);
                self.verify.put(mode, source);
            }
            "ssl_ca_cert" => self.ca_cert.put(file(), source),
            "ssl_session_cache" => self.session_cache.put(true, source),
            "ssl_min_version" => {
                let least = if number() == 3 { Version::Tls13 } else { Version::Tls12 };
                self.min_version.put(least, source);
            }
            "ssl_ciphers" => self.ciphers = Some(String::from(value)),
            "ssl_wbuf_size" => {
                let kilobytes: u32 = value.trim().parse().unwrap_or(0);
                self.wbuf_size = kilobytes.saturating_mul(1024);
            }
            "ssl_kernel_tls" => self.kernel_tls = true,
            _ => return false,
        }
        true
    }

    pub(super) fn finish(self) -> tls::Settings {
        tls::Settings {
            enabled: self.enabled.value,
            chain_cert: self.chain_cert.value,
            key: self.key.value,
            key_format: self.key_format.value,
            verify: self.verify.value,
            ca_cert: self.ca_cert.value,
            ciphers: self.ciphers,
            wbuf_size: self.wbuf_size,
            session_cache: self.session_cache.value,
            kernel_tls: self.kernel_tls,
            min_version: self.min_version.value,
        }
    }
}

/// What of TLS does not suit the rest. The files are looked at when they are loaded.
pub(super) fn check(settings: &mut Settings) -> Option<(Source, Complaint)> {
    let (tls, listen) = (&settings.tls, &settings.listen);
    let listener = listen.value.iter().find(|one| one.tls.is_some());
    if !tls.enabled.value {
        let found = listener.map(|_| listener_without_tls(&listen.value));
        return found.map(|complaint| (listen.source.clone(), complaint));
    }
    if settings.udp_port.value != Port::Off {
        let source = settings.udp_port.source.clone();
        let text = "-U: what goes over UDP is not encrypted, there is TLS for TCP only";
        settings.warnings.push(format!("{source}: {text}"));
    }
    let tls = &settings.tls;
    if settings.tcp_port.value == Port::Off {
        let what = "ERROR: You cannot enable SSL without a TCP port.";
        let complaint = Complaint::new(USAGE, what, "leave -Z out, or write a port with -p");
        return Some((tls.enabled.source.clone(), complaint));
    }
    let source = tls.enabled.source.clone();
    let missing = |what: &str, name: &str| {
        let what = format!("Error loading the {what}: (null) : {name} is not set");
        Some((source, Complaint::new(USAGE, what, format!("name it with -o {name}=FILE"))))
    };
    if tls.chain_cert.value.is_none() {
        return missing("certificate chain", "ssl_chain_cert");
    }
    if tls.key.value.is_none() {
        return missing("key", "ssl_key");
    }
    vouching(settings)
}

/// Who asks for certificates of clients has to be able to tell good ones.
fn vouching(settings: &mut Settings) -> Option<(Source, Complaint)> {
    let (tls, listen) = (&settings.tls, &settings.listen);
    if tls.ca_cert.value.is_some() {
        return None;
    }
    let remedy = "name the certificates that vouch for clients with -o ssl_ca_cert=FILE";
    let mutual = |one: &&Listen| one.tls == Some(tls::TlsMode::Mutual);
    if let Some(one) = listen.value.iter().find(mutual) {
        let what = format!("{} asks for certificates of clients without ssl_ca_cert", one.text);
        return Some((listen.source.clone(), Complaint::new(USAGE, what, remedy)));
    }
    match tls.verify.value {
        Verify::None => None,
        Verify::Request => {
            let source = tls.verify.source.clone();
            settings.warnings.push(format!(
                "{source}: ssl_verify_mode asks for certificates of clients without ssl_ca_cert: \
                 none could be verified, so none is asked for; {remedy}"
            ));
            None
        }
        Verify::Require | Verify::Once => {
            let what = "ssl_verify_mode asks for certificates of clients without ssl_ca_cert";
            Some((tls.verify.source.clone(), Complaint::new(USAGE, what, remedy)))
        }
    }
}

fn listener_without_tls(listen: &[Listen]) -> Complaint {
    let mode = listen.iter().find_map(|one| one.tls).map_or("", tls::TlsMode::name);
    let list: Vec<&str> = listen.iter().map(|one| &*one.text).collect();
    let what = format!(
        "'{mode}' option is valid only when SSL is enabled\nfailed to listen on one of interface(s) {}",
        list.join(",")
    );
    Complaint::new(OS_ERROR, what, format!("leave {mode}: out, or enable TLS with -Z"))
}

/// What memcached says of a value of `ssl_verify_mode`, `ssl_keyformat`, `ssl_wbuf_size` or
/// `ssl_min_version` that is out of order.
pub(super) fn check_number(name: &str, text: &str) -> Result<(), String> {
    let text = text.trim();
    let unparsed = || format!("could not parse argument to {name}");
    let number: i64 = text.parse().map_err(|_| unparsed())?;
    match name {
        "ssl_wbuf_size" if u32::try_from(number).is_ok() => Ok(()),
        "ssl_wbuf_size" => Err(unparsed()),
        _ if i32::try_from(number).is_err() => Err(unparsed()),
        "ssl_keyformat" => Ok(()),
        _ if (0..4).contains(&number) => Ok(()),
        _ => Err(format!("Invalid {name}. Use help to see valid options.")),
    }
}
