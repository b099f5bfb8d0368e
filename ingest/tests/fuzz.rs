//! Parsers of the sources' bytes on a stored corpus and on seeded mutations of it: no panic, no memory out of proportion.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "../../shards/tests/common/counting.rs"]
mod counting;
#[path = "../../shards/tests/common/fuzz.rs"]
mod fuzz;

use ingest::fuzzing::TARGETS;
use ingest::source::crops::meta;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn allowance(name: &str, input: usize) -> usize {
    match name {
        // Pickled values are many times their text.
        "pickle" => (1 << 20) + 400 * input,
        // Read buffers, and the beginning of one entry.
        "archive" => (8 << 20) + 64 * input,
        // One block of lines, and the columns polars makes of it.
        "csv" => (64 << 20) + 256 * input,
        _ => (64 << 10) + 8 * input,
    }
}

#[test]
fn no_bytes_make_a_parser_panic_or_take_the_memory() {
    fuzz::check(&TARGETS, 1000, |_| Vec::new(), allowance);
    let seeds = fuzz::files(&fuzz::root().join("fuzz/corpus/pickle"));
    let read = seeds.iter().filter(|path| meta::parse(&std::fs::read(path).unwrap()).is_ok()).count();
    assert!(read >= 2, "{read} of {} pickles are read", seeds.len());
}
