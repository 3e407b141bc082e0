//! What holds for all clients of one listener.

use crate::protocol::Protocol;
use crate::tls::TlsMode;
use std::fmt;

/// Longest tag, in bytes.
const TAG_MAX: usize = 8;

/// What holds for all clients of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What they may speak.
    pub protocol: Protocol,
    /// Their listener's name.
    pub tag: Option<Tag>,
    /// Whether they speak it through TLS, else as the daemon was told for all listeners.
    pub tls: Option<TlsMode>,
}

/// The name of a listener, 1 to 8 bytes long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    bytes: [u8; TAG_MAX],
    length: u8,
}

impl Tag {
    /// The tag `name`, unless that is empty or too long.
    pub fn new(name: &str) -> Option<Tag> {
        let mut bytes = [0; TAG_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        let length = u8::try_from(name.len()).ok().filter(|length| *length > 0)?;
        Some(Tag { bytes, length })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
