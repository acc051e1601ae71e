//! A small fuzzer: inputs of a committed corpus, changed again and again, until time or a count is over.
//!
//! Not coverage-guided, so that it runs on the toolchain the product is built with; the corpora hold what takes
//! each branch. A finding is written down whole, and belongs into the corpus with its fix.

use std::path::Path;
use std::time::{Duration, Instant};

/// Executions where nobody asked for more.
const EXECS: u64 = 10_000;
const BYTES_MAX: usize = 64 << 10;

/// xorshift64*: a seed repeats a run.
struct Random(u64);
impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap_or(0) % bound.max(1)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a grammar has at its joints, and what numbers have at their edges.
const TOKENS: [&[u8]; 26] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"=",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"9223372036854775808",
    b"18446744073709551616",
    b"0.1",
    b"t=",
    b"v1=",
    b"\r\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xf0\x9f\x92\xb6",
    b"evt_",
    b"_FILE",
];

/// Runs `target` over the corpus below `tests/fuzz/corpus` and over changes of it; prints the figures.
///
/// `target` panics if it finds something. `BURSAR_FUZZ_SECONDS` runs each target for so long instead of a fixed
/// count; `BURSAR_SEED` repeats a run.
pub(crate) fn fuzz(name: &str, corpus: &Path, target: impl Fn(&[u8])) {
    let mut kept = read_corpus(&corpus.join(name));
    assert!(!kept.is_empty(), "{name} has no corpus");
    let seed = number("BURSAR_SEED").unwrap_or_else(|| u64::from(std::process::id()) | 1);
    let until = number("BURSAR_FUZZ_SECONDS").map(Duration::from_secs);
    let mut random = Random(seed | 1);
    let started = Instant::now();
    let mut execs = 0;
    for input in &kept {
        run(name, seed, &target, input);
        execs += 1;
    }
    let first = kept.len();
    while until.map_or(execs < EXECS, |until| started.elapsed() < until) {
        let mut input = kept[random.below(kept.len())].clone();
        for _ in 0..=random.below(4) {
            let other = kept[random.below(kept.len())].clone();
            change(&mut input, &other, &mut random);
        }
        input.truncate(BYTES_MAX);
        run(name, seed, &target, &input);
        execs += 1;
        // Changes of changes go deeper than changes of the corpus.
        if kept.len() < 4 * first + 64 {
            kept.push(input);
        } else if random.below(50) == 0 {
            let at = first + random.below(kept.len() - first);
            kept[at] = input;
        }
    }
    println!("fuzz target={name} corpus={first} execs={execs} crashes=0 seed={seed}");
}

fn read_corpus(folder: &Path) -> Vec<Vec<u8>> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .collect()
}

fn run(name: &str, seed: u64, target: &impl Fn(&[u8]), input: &[u8]) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(input)));
    if outcome.is_err() {
        let to = std::env::temp_dir().join(format!("bursar-fuzz-{name}-{seed}"));
        let written = std::fs::write(&to, input);
        panic!(
            "fuzz target={name} crashes=1 seed={seed}: {} ({written:?})",
            to.display()
        );
    }
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
        1 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] = u8::try_from(random.below(256)).unwrap_or(0);
        }
        2 => {
            let to = (at + random.below(32)).min(input.len());
            input.drain(at..to);
        }
        3 => {
            let token = TOKENS[random.below(TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
        4 => {
            let token = TOKENS[random.below(TOKENS.len())];
            let to = (at + token.len()).min(input.len());
            input.splice(at..to, token.iter().copied());
        }
        5 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(64)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        6 => {
            let to = (at + random.below(64)).min(input.len());
            let piece = input[at..to].to_vec();
            input.splice(at..at, piece);
        }
        7 => input.truncate(at),
        _ => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}
