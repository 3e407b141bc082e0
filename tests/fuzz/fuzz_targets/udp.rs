#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| paircached_fuzz::targets::udp(bytes));
