//! Keys in lines that have fields: what is neither letter nor digit is mostly written as in a URI.

/// Bytes beside letters and digits that stay as they are.
const PLAIN: &[u8] = b"-._~";
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Encodes `bytes`, handing the result to `push` in pieces.
pub fn encode(bytes: &[u8], mut push: impl FnMut(&[u8])) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            push(&[byte]);
        } else {
            push(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}
