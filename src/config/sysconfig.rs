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
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
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
                    parsed
                        .warnings
                        .push((line, String::from("neither comment nor NAME=value: ignored")));
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
                        parsed.assignments.push(Assignment { name, value: value.text, line });
                    }
                    Err((line, what)) => parsed.faults.push((line, format!("{name}: {what}"))),
                }
            }
        }
    }
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        parsed.faults.push((line, String::from("a NUL byte; remove it")));
    }
    parsed
}

/// Splits the value of `OPTIONS` into words, like a shell that expands nothing.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
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

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
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
        let mut after_space = self.chars.peek().is_some_and(|&c| is_blank(c));
        self.skip(is_blank);
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> String {
        let parsed = parse(text);
        assert!(parsed.faults.is_empty(), "{text:?}: {:?}", parsed.faults);
        parsed.assignments.last().map(|last| last.value.clone()).unwrap_or_default()
    }

    fn double(text: &str) -> String {
        let escaped = |c: char| match c {
            '"' | '\\' | '$' | '`' => format!("\\{c}"),
            _ => String::from(c),
        };
        format!("\"{}\"", text.chars().map(escaped).collect::<String>())
    }

    fn single(text: &str) -> String {
        format!("'{}'", text.replace('\'', "'\\''"))
    }

    fn bare(text: &str) -> String {
        text.chars()
            .map(|c| if c == '\n' { String::from("'\n'") } else { format!("\\{c}") })
            .collect()
    }

    #[test]
    fn words_keep_what_is_quoted_and_lose_what_is_not() {
        let words = |text: &str| split(text).unwrap();
        assert_eq!(words("  -l\t127.0.0.1 -d\n"), ["-l", "127.0.0.1", "-d"]);
        assert_eq!(words(r#"-P '/a b' "c d"e f\ g '' \"#), ["-P", "/a b", "c de", "f g", "", ""]);
        assert!(split("-P 'a").is_err());
    }

    #[test]
    fn lines_are_counted_through_quotes_and_continuations() {
        let parsed = parse("A='x\ny'\nB=\\\n\\\n1\n\nC=2\n");
        let lines: Vec<_> = parsed.assignments.iter().map(|a| (&*a.name, a.line)).collect();
        assert_eq!(lines, [("A", 1), ("B", 3), ("C", 7)]);
    }

    /// Parts of a value, and how a shell may be shown them without expanding anything.
    fn piece() -> impl Strategy<Value = String> {
        let unquoted =
            ["a", "=", "-", "x#", "\\ ", "\\\\", "\\'", "\\\"", "\\$", "\\#", "\\a", "\\\n"];
        let quoted =
            ["a", " ", "\\\\", "\\\"", "\\$", "\\`", "\\a", "\\'", "\\\n", "\n", "'", "#", ";"];
        prop_oneof![
            prop::sample::select(unquoted.to_vec()).prop_map(String::from),
            prop::collection::vec(prop::sample::select(quoted.to_vec()), 0..6)
                .prop_map(|parts| format!("\"{}\"", parts.concat())),
            r#"'[a \\\\"$`#\n]{0,6}'"#,
        ]
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let parsed = parse(&text);
            let lines = 1 + text.matches('\n').count();
            prop_assert!(parsed.assignments.iter().all(|a| (1..=lines).contains(&a.line)));
            let _ = split(&text);
        }

        #[test]
        fn no_text_of_special_characters_makes_the_parser_panic(
            text in "[A-C= '\"\\\\#;\r\n\t$]{0,40}"
        ) {
            let _ = split(&text);
            for assignment in parse(&text).assignments {
                prop_assert!(variable(&assignment.name).is_some());
            }
        }

        #[test]
        fn a_quoted_value_comes_back(text in "[^\r\0]*") {
            for quoted in [double(&text), single(&text), bare(&text)] {
                prop_assert_eq!(value(&format!("X={quoted}")), text.clone());
                prop_assert_eq!(value(&format!(" export X={quoted}  # X=1\n")), text.clone());
            }
        }

        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[^\r\0]*", 0..5)) {
            let double = words.iter().map(|word| double(word)).collect::<Vec<_>>().join(" ");
            let single = words.iter().map(|word| single(word)).collect::<Vec<_>>().join("\n");
            prop_assert_eq!(split(&double).unwrap(), words.clone());
            prop_assert_eq!(split(&single).unwrap(), words);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_the_same_value(pieces in prop::collection::vec(piece(), 0..6)) {
            let line = format!("X={}\n", pieces.concat());
            let script = format!("{line}printf %s \"$X\"\n");
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            prop_assert!(output.status.success() && output.stderr.is_empty());
            prop_assert_eq!(value(&line), String::from_utf8(output.stdout).unwrap());
        }
    }
}
