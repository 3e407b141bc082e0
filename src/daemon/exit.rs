//! Exit codes: memcached's, which are those of `sysexits.h`.

/// A wrong command line, as far as memcached tells it from other failures.
pub(super) const USAGE: u8 = 64;
/// The user to run as does not exist.
pub(super) const NO_USER: u8 = 67;
/// The system refused something.
pub(super) const OS_ERROR: u8 = 71;

/// Why the daemon ends before it serves, and with which code.
#[derive(Debug)]
pub(super) struct Fatal {
    /// For the person who started it.
    pub(super) message: String,
    /// For the script that did.
    pub(super) code: u8,
}

impl Fatal {
    /// The system refused something.
    pub(super) fn os(message: impl Into<String>) -> Fatal {
        Fatal { message: message.into(), code: OS_ERROR }
    }
}
