//! Who may use the cache: users and their passwords, from a file of lines `user:password`.

use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// Longest line of a password file, in bytes.
const LINE_MAX: usize = 255;
/// Entries of a file for the text protocol; memcached reads no more.
const TEXT_ENTRIES: usize = 8;
/// Users of a file for the binary protocol: each login looks at all of them.
const SASL_ENTRIES: usize = 1024;

/// For which protocol a file is, which read the same lines a little differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFormat {
    /// As memcached's `-Y`: every line is an entry; only the first 8 count.
    Text,
    /// As memcached's `MEMCACHED_SASL_PWDB`: lines without a colon are no entries, a user's first
    /// line counts, and behind the password may stand a colon and more.
    Sasl,
}

/// What is read of a password file.
#[derive(Clone, PartialEq, Eq)]
pub struct Passwords {
    entries: Vec<Entry>,
    /// Entries that are beyond what is looked at.
    pub ignored: usize,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    user: Secret,
    password: Secret,
}

/// At most [`LINE_MAX`] bytes, filled up with zeros, and how many they are: comparing two takes the
/// same time whatever they are.
#[derive(Clone, PartialEq, Eq)]
struct Secret([u8; LINE_MAX + 1]);

impl Secret {
    /// `None` for what is too long to stand in a file.
    fn of(bytes: &[u8]) -> Option<Secret> {
        let mut padded = [0; LINE_MAX + 1];
        padded[LINE_MAX] = u8::try_from(bytes.len()).ok()?;
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Secret(padded))
    }

    fn is(&self, other: &Secret) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Shows how many there are and nothing of them: a log may get to see this.
impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passwords({})", self.entries.len())
    }
}

impl Passwords {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The number of the first line that is no `user:password`, or is longer than 255 bytes.
    pub fn parse(text: &[u8], format: PasswordFormat) -> Result<Passwords, usize> {
        let mut passwords = Passwords { entries: Vec::new(), ignored: 0 };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if text.is_empty() {
            return Ok(passwords);
        }
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = line.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let whole = line.len() <= LINE_MAX && !line.contains(&0);
            match (split(line).filter(|_| whole), format) {
                (Some((user, password)), PasswordFormat::Text) => passwords.add(user, password),
                (Some((user, password)), PasswordFormat::Sasl) => {
                    passwords.add_sasl(user, password);
                }
                (None, PasswordFormat::Sasl) if whole => {}
                (None, _) => return Err(number),
            }
        }
        let counted = match format {
            PasswordFormat::Text => TEXT_ENTRIES,
            PasswordFormat::Sasl => SASL_ENTRIES,
        };
        passwords.ignored = passwords.entries.len().saturating_sub(counted);
        passwords.entries.truncate(counted);
        Ok(passwords)
    }

    fn add(&mut self, user: &[u8], password: &[u8]) {
        if let (Some(user), Some(password)) = (Secret::of(user), Secret::of(password)) {
            self.entries.push(Entry { user, password });
        }
    }

    /// The password may hold colons, or end at the first.
    fn add_sasl(&mut self, user: &[u8], password: &[u8]) {
        if Secret::of(user).is_none_or(|user| self.entries.iter().any(|one| one.user == user)) {
            return;
        }
        self.add(user, password);
        if let Some((first, _)) = split(password) {
            self.add(user, first);
        }
    }

    /// Whether there is such a user with this password. Nothing can be learnt from the time it
    /// takes: that depends on the number of entries alone.
    pub fn accept(&self, user: &[u8], password: &[u8]) -> bool {
        let (Some(user), Some(password)) = (Secret::of(user), Secret::of(password)) else {
            return false;
        };
        let found = self.entries.iter().fold(Choice::from(0), |found, entry| {
            found | (entry.user.is(&user) & entry.password.is(&password))
        });
        found.into()
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What is before and behind the first colon.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..at], &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &str) -> Passwords {
        Passwords::parse(file.as_bytes(), PasswordFormat::Text).unwrap()
    }

    #[test]
    fn only_the_right_password_of_a_user_is_accepted() {
        let passwords = text("foo:bar\nbaz:s p:a c\n");
        assert!(passwords.accept(b"foo", b"bar") && passwords.accept(b"baz", b"s p:a c"));
        for (user, password) in
            [("foo", "ba"), ("foo", "bar\0"), ("foo", ""), ("fo", "bar"), ("baz", "bar"), ("", "")]
        {
            assert!(!passwords.accept(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        assert!(!passwords.accept(b"foo", &[b'x'; 300]) && !passwords.accept(&[b'x'; 300], b"bar"));
    }

    #[test]
    fn line_ends_may_be_any_and_the_last_may_be_missing() {
        for file in ["a:b\nc:d", "a:b\nc:d\n", "a:b\r\nc:d\r\n"] {
            let passwords = text(file);
            assert!(passwords.accept(b"a", b"b") && passwords.accept(b"c", b"d"), "{file:?}");
        }
    }

    #[test]
    fn what_is_no_entry_is_told_by_its_line() {
        let long = format!("a:b\nu:{}\n", "x".repeat(LINE_MAX));
        for (file, line) in
            [("foo", 1), ("a:b\n\nc:d", 2), ("a:b\n#\n", 2), (&*long, 2), ("a:b\nc:\0\n", 2)]
        {
            let parsed = Passwords::parse(file.as_bytes(), PasswordFormat::Text);
            assert_eq!(parsed, Err(line), "{file:?}");
        }
        let longest = format!("u:{}", "x".repeat(LINE_MAX - 2));
        assert!(text(&longest).accept(b"u", &longest.as_bytes()[2..]));
        assert!(text("").is_empty());
    }

    #[test]
    fn the_ninth_entry_for_the_text_protocol_is_ignored() {
        let file: String = (1..=9).map(|user| format!("{user}:x\n")).collect();
        let passwords = text(&file);
        assert!(passwords.accept(b"8", b"x") && !passwords.accept(b"9", b"x"));
        assert_eq!(passwords.ignored, 1);
        let passwords = Passwords::parse(file.as_bytes(), PasswordFormat::Sasl).unwrap();
        assert!(passwords.accept(b"9", b"x"));
    }

    #[test]
    fn for_sasl_a_users_first_line_counts_and_more_may_follow_the_password() {
        let file = b"# users\n\nu:one:more\nu:two\nv:1\n";
        let passwords = Passwords::parse(file, PasswordFormat::Sasl).unwrap();
        for (user, password, fits) in [
            ("u", "one", true),
            ("u", "one:more", true),
            ("u", "one:", false),
            ("u", "two", false),
            ("v", "1", true),
        ] {
            assert_eq!(passwords.accept(user.as_bytes(), password.as_bytes()), fits, "{password}");
        }
    }

    #[test]
    fn no_secret_shows_where_the_passwords_are_printed() {
        assert_eq!(format!("{:?}", text("user:secret")), "Passwords(1)");
    }
}
