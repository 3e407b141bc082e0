//! Numbers as memcached's text protocol reads them: decimal, a sign allowed, nothing around them.

/// An unsigned 64-bit number; out of range is an error. With a minus it is what C makes of it, if that is
/// small enough to be no negative number: memcached takes `-0` so.
pub fn parse_u64(token: &[u8]) -> Option<u64> {
    if let Some(digits) = token.strip_prefix(b"-") {
        let number = digits_of(digits)?.wrapping_neg();
        return i64::try_from(number).is_ok().then_some(number);
    }
    digits_of(token.strip_prefix(b"+").unwrap_or(token))
}

fn digits_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// A signed 64-bit number; out of range is an error.
pub fn parse_i64(token: &[u8]) -> Option<i64> {
    match token.strip_prefix(b"-") {
        Some(digits) if digits.first().is_some_and(u8::is_ascii_digit) => {
            0i64.checked_sub_unsigned(parse_u64(digits)?)
        }
        Some(_) => None,
        None => parse_u64(token)?.try_into().ok(),
    }
}

/// A signed 32-bit number; out of range is an error.
pub fn parse_i32(token: &[u8]) -> Option<i32> {
    parse_i64(token)?.try_into().ok()
}

/// Client flags: read with 64 bits, kept with 32, as memcached does.
pub fn parse_u32_cut(token: &[u8]) -> Option<u32> {
    parse_u64(token).map(|number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_out_of_range_are_refused_and_flags_are_cut() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i32(b"2147483648"), None);
        assert_eq!(parse_u32_cut(b"4294967296"), Some(0));
        assert_eq!((parse_u64(b"-0"), parse_u64(b"-18446744073709551615")), (Some(0), Some(1)));
        assert_eq!((parse_u64(b"-1"), parse_u64(b"-9223372036854775808")), (None, None));
        for junk in [&b""[..], b"-", b"+", b"--1", b"-+1", b"1.5", b"0x1", b" 1", b"1 "] {
            assert_eq!((parse_u64(junk), parse_i64(junk)), (None, None), "{junk:?}");
        }
    }

    proptest! {
        #[test]
        fn what_rust_prints_is_read_back(number in any::<i64>()) {
            prop_assert_eq!(parse_i64(number.to_string().as_bytes()), Some(number));
            prop_assert_eq!(parse_u64(number.to_string().as_bytes()), u64::try_from(number).ok());
        }

        #[test]
        fn any_bytes_are_a_number_or_refused(token in proptest::collection::vec(any::<u8>(), 0..30)) {
            let text = std::str::from_utf8(&token).ok();
            prop_assert_eq!(parse_i64(&token), text.and_then(|text| text.parse().ok()));
        }
    }
}
