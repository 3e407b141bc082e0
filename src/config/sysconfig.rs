//! `/etc/sysconfig/memcached`: the format that systemd's `EnvironmentFile=` and a shell both read.
//!
//! Nothing is expanded. Where the two readers differ, what more files rely on is taken: a value may
//! hold unquoted spaces (systemd), and ` #` starts a comment behind it (shell).

use std::iter::Peekable;
use std::str::Chars;

/// The variables that mean something here.
const KNOWN: [&str; 5] = ["PORT", "USER", "MAXCONN", "CACHESIZE", "OPTIONS"];

/// `NAME=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Where it begins, from 1.
    pub(super) line: usize,
}

/// A whole file; warnings and faults with their line.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) assignments: Vec<Assignment>,
    pub(super) warnings: Vec<(usize, String)>,
    pub(super) faults: Vec<(usize, String)>,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Parsed {
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    let mut reader = Reader {
        chars: text.chars().peekable(),
        line: 1,
    };
    let mut parsed = Parsed::default();
    loop {
        reader.skip(char::is_whitespace);
        let line = reader.line;
        match reader.chars.peek() {
            None => break,
            Some('#' | ';') => reader.skip(|c| c != '\n'),
            Some(_) => {
                let name = reader.until(|c| c == '=' || c == '\n');
                let Some(name) = variable(&name).filter(|_| reader.next_is('=')) else {
                    parsed.warnings.push((
                        line,
                        String::from("neither comment nor NAME=value: ignored"),
                    ));
                    reader.skip(|c| c != '\n');
                    continue;
                };
                let name = String::from(name);
                match reader.value() {
                    Ok(value) => {
                        if value.dollar && KNOWN.contains(&&*name) {
                            let text = format!(
                                "{name}: $ and ` stand for themselves, nothing is expanded"
                            );
                            parsed.warnings.push((line, text));
                        }
                        parsed.assignments.push(Assignment {
                            name,
                            value: value.text,
                            line,
                        });
                    }
                    Err((line, what)) => parsed.faults.push((line, format!("{name}: {what}"))),
                }
            }
        }
    }
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        parsed
            .faults
            .push((line, String::from("a NUL byte; remove it")));
    }
    parsed
}

/// Splits the value of `OPTIONS` into words, like a shell that expands nothing.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader {
        chars: text.chars().peekable(),
        line: 1,
    };
    let mut words = Vec::new();
    loop {
        reader.skip(char::is_whitespace);
        if reader.chars.peek().is_none() {
            return Ok(words);
        }
        let mut word = Value::default();
        while reader.chars.peek().is_some_and(|c| !c.is_whitespace()) {
            reader.piece(&mut word).map_err(|(_, what)| what)?;
        }
        words.push(word.text);
    }
}

/// The variable's name, if it is one.
fn variable(text: &str) -> Option<&str> {
    let text = text.trim_end();
    let name = match text.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => text,
    };
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let fits = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit());
    fits.then_some(name)
}

#[derive(Default)]
struct Value {
    text: String,
    /// Unquoted spaces at the end go, but nothing before this position.
    keep: usize,
    /// A shell would expand something.
    dollar: bool,
}

impl Value {
    fn push(&mut self, c: char) {
        self.text.push(c);
        self.keep = self.text.len();
    }
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = self.chars.peek() == Some(&wanted);
        if is {
            self.next();
        }
        is
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(&c) = self.chars.peek() {
            if stop(c) {
                break;
            }
            text.push(c);
            self.next();
        }
        text
    }

    fn skip(&mut self, wanted: impl Fn(char) -> bool) {
        self.until(|c| !wanted(c));
    }

    /// What follows the `=`, up to the end of its last line.
    fn value(&mut self) -> Result<Value, (usize, String)> {
        let mut value = Value::default();
        let mut after_space = false;
        self.skip(|c| c == ' ' || c == '\t');
        while let Some(&c) = self.chars.peek() {
            match c {
                '\n' => break,
                '#' if after_space => self.skip(|c| c != '\n'),
                _ if c.is_whitespace() => {
                    value.text.push(c);
                    self.next();
                }
                _ => self.piece(&mut value)?,
            }
            after_space = c.is_whitespace();
        }
        value.text.truncate(value.keep);
        Ok(value)
    }

    /// One character, escaped or not, or one quoted string.
    fn piece(&mut self, value: &mut Value) -> Result<(), (usize, String)> {
        let line = self.line;
        match self.next() {
            Some('\\') => match self.next() {
                Some('\n') | None => {}
                Some(c) => value.push(c),
            },
            Some(quote @ ('\'' | '"')) => {
                self.quoted(quote, value)
                    .map_err(|()| (line, format!("the quote {quote} is never closed; close it")))?;
                value.keep = value.text.len();
            }
            Some(c) => {
                value.dollar |= c == '$' || c == '`';
                value.push(c);
            }
            None => {}
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char, value: &mut Value) -> Result<(), ()> {
        loop {
            match self.next() {
                None => return Err(()),
                Some(c) if c == quote => return Ok(()),
                Some('\\') if quote == '"' => match self.next() {
                    Some('\n') => {}
                    Some(c @ ('"' | '\\' | '$' | '`')) => value.push(c),
                    Some(c) => {
                        value.push('\\');
                        value.push(c);
                    }
                    None => return Err(()),
                },
                Some(c) => {
                    value.dollar |= quote == '"' && (c == '$' || c == '`');
                    value.push(c);
                }
            }
        }
    }
}
