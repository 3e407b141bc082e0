//! A setting with the place it is from.

use std::fmt;
use std::rc::Rc;

/// Where a setting is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Default,
    /// Name of the file as given, and the line.
    File(Rc<str>, usize),
    /// The variable's name.
    Environment(&'static str),
    CommandLine,
    /// A credential of systemd's.
    Credential,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path, line) => write!(f, "{path}:{line}"),
            Source::Environment(name) => write!(f, "environment: {name}"),
            Source::CommandLine => f.write_str("command line"),
            Source::Credential => f.write_str("credential"),
        }
    }
}

/// A value and where it is from.
#[derive(Clone, Debug)]
pub(super) struct Set<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

impl<T> Set<T> {
    pub(super) fn new(value: T) -> Set<T> {
        Set { value, source: Source::Default }
    }

    pub(super) fn put(&mut self, value: T, source: &Source) {
        self.value = value;
        self.source = source.clone();
    }
}
