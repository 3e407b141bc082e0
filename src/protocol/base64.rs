//! Base64 with padding, for keys that are no text.

use super::KEY_MAX;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes that `text` stands for, in `room`; `None` if it is no base64 of 1 to 250 characters.
pub fn decode<'r>(text: &[u8], room: &'r mut [u8; KEY_MAX]) -> Option<&'r [u8]> {
    if text.is_empty() || text.len() > KEY_MAX || !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let mut length = 0;
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = ALPHABET.iter().position(|&letter| letter == digit)?;
            bits = bits << 6 | value as u32;
        }
        bits <<= 6 * (4 - group.len());
        let bytes = group.len() * 6 / 8;
        room[length..length + bytes].copy_from_slice(&bits.to_be_bytes()[1..=bytes]);
        length += bytes;
    }
    Some(&room[..length])
}

/// Gives `put` the base64 of `bytes`, four characters at a time.
pub fn encode(bytes: &[u8], mut put: impl FnMut(&[u8])) {
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte));
        let bits = bits << (8 * (3 - group.len()));
        let mut digits = [b'='; 4];
        for (place, digit) in digits.iter_mut().enumerate().take(group.len() + 1) {
            *digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
        }
        put(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(bytes in proptest::collection::vec(any::<u8>(), 1..=186)) {
            let mut text = Vec::new();
            encode(&bytes, |digits| text.extend_from_slice(digits));
            let mut room = [0; KEY_MAX];
            prop_assert_eq!(decode(&text, &mut room), Some(&bytes[..]));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in "[A-Za-z=/+]{0,260}") {
            let _ = decode(text.as_bytes(), &mut [0; KEY_MAX]);
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [&b""[..], b"YQ", b"YQ=", b"Y===", b"=QQQ", b"YQ==YQ==", b"Y Q=", &[b'A'; 252]]
        {
            assert_eq!(decode(text, &mut [0; KEY_MAX]), None, "{text:?}");
        }
        assert_eq!(decode(b"YQ==", &mut [0; KEY_MAX]), Some(&b"a"[..]));
    }
}
