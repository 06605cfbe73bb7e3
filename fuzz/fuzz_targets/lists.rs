#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dualgate_fuzz::lists(bytes));
