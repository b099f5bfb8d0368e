//! `jpeg`: see `shards::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // The reader turns panics of Arrow's decoder into errors; only those that come out of it are findings.
        drop(std::panic::take_hook());
    },
    |data: &[u8]| shards::fuzzing::picture(data)
);
