//! Damage to the files of a real data folder, under the real binary.
//!
//! Goal: the binary refuses and names the file, or what it serves is right. Method: a folder with many segments,
//! checkpoints, keys and rows is copied; a bit is flipped, a block zeroed, a file cut, removed, swapped with another
//! or replaced by an older copy of itself; `bursar verify` opens it and folds it again. Right is the digest of the
//! undamaged store, of the same inputs.
//!
//! `BURSAR_DAMAGES` sets the cases (24).

use crate::filled::{Filled, Told};
use crate::{Rng, env_number};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [&str; 7] = ["flip", "zero", "cut", "remove", "swap", "stale", "extend"];

/// What became of the cases.
#[derive(Debug, Default)]
struct Figures {
    right: u64,
    refused: u64,
    silent: u64,
    hung: u64,
    panicked: u64,
}

#[test]
fn damaged_files_are_refused_by_name_or_harmless() {
    let cases = env_number("BURSAR_DAMAGES", 24);
    let seed = env_number("BURSAR_SEED", u64::from(std::process::id()) | 1);
    println!("damage: cases={cases} seed={seed}");
    let mut rng = Rng(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let filled = runtime.block_on(Filled::with(6, 6));
    let stale = filled.copy("stale");
    let mut figures = Figures::default();
    let mut by_place: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for case in 0..cases {
        let copy = filled.copy(&format!("case-{case}"));
        let kind = KINDS[(case % 7) as usize];
        let file = pick(&copy, case, &mut rng);
        let told = damage(kind, &copy, &stale, &file, &mut rng);
        let place = file.strip_prefix(&copy).unwrap();
        let place = place.iter().next().unwrap().to_string_lossy().into_owned();
        // Of two that changed places, one may be made again or have a twin; then the other is named.
        let other = told.strip_prefix("with ").map(PathBuf::from);
        let changed: Vec<&Path> = [Some(file.as_path()), other.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let verdict = judge(&filled, &copy, &changed, &mut figures);
        let counts = by_place.entry(place).or_default();
        counts[usize::from(verdict == "refused")] += 1;
        if !matches!(verdict, "right" | "refused") {
            println!("{verdict}: {kind} {} ({told})", file.display());
        }
        fs::remove_dir_all(&copy).unwrap();
    }
    println!("right and refused by folder: {by_place:?}");
    println!(
        "damage cases={cases} right={} refused={} silent={} hung={} panicked={}",
        figures.right, figures.refused, figures.silent, figures.hung, figures.panicked
    );
    assert_eq!((figures.silent, figures.hung, figures.panicked), (0, 0, 0));
    assert!(cases < 24 || (figures.right > 0 && figures.refused > 0));
}

/// A file of the journal, the keys, or the rows, in turns.
fn pick(copy: &Path, case: u64, rng: &mut Rng) -> PathBuf {
    let folder = copy.join(["journal", "journal", "keys", "sled"][(case / 7 % 4) as usize]);
    let mut files = Vec::new();
    walk(&folder, &mut files);
    files.sort();
    files.swap_remove(rng.below(files.len() as u64) as usize)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if fs::metadata(&path).is_ok_and(|meta| meta.len() > 0) {
            files.push(path);
        }
    }
}

fn damage(kind: &str, copy: &Path, stale: &Path, file: &Path, rng: &mut Rng) -> String {
    let mut bytes = fs::read(file).unwrap();
    // Behind the last record there are zeros, whose change would be no damage to anything.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = rng.below(used as u64) as usize;
    match kind {
        "flip" => bytes[at] ^= 1 << rng.below(8),
        "zero" => {
            let from = at / 512 * 512;
            let to = (from + 4_096).min(bytes.len());
            bytes[from..to].fill(0);
        }
        "cut" => bytes.truncate(at),
        "extend" => bytes.extend_from_slice(&[7; 100]),
        "remove" => {
            fs::remove_file(file).unwrap();
            return String::new();
        }
        "swap" => return swap(copy, file, rng),
        // What it was a third of its length ago, as after a restore of one file alone.
        _ => {
            let older = stale.join(file.strip_prefix(copy).unwrap());
            bytes = fs::read(older).unwrap();
            let from = used * 2 / 3;
            bytes[from..].fill(0);
        }
    }
    fs::write(file, &bytes).unwrap();
    format!("at {at} of {used}")
}

fn swap(copy: &Path, file: &Path, rng: &mut Rng) -> String {
    let mut files = Vec::new();
    walk(&copy.join("journal"), &mut files);
    files.sort();
    let other = &files[rng.below(files.len() as u64) as usize];
    let (mine, theirs) = (fs::read(file).unwrap(), fs::read(other).unwrap());
    fs::write(file, theirs).unwrap();
    fs::write(other, mine).unwrap();
    format!("with {}", other.display())
}

fn judge(filled: &Filled, copy: &Path, changed: &[&Path], figures: &mut Figures) -> &'static str {
    let told = filled.bursar(copy, &["verify", "--json"]);
    let (count, verdict) = match told.code {
        _ if told.err.contains("panicked at") && told.code == Some(101) => {
            (&mut figures.panicked, "panicked")
        }
        Some(0) if is_right(filled, &told) => (&mut figures.right, "right"),
        // Told, by file, of something that is not served from: an old part of the journal, say.
        Some(1) if changed.iter().any(|file| names(&told.out, file)) && is_right(filled, &told) => {
            (&mut figures.refused, "refused")
        }
        Some(65 | 74) if told.err.contains("journal") || told.err.contains("keys") => {
            (&mut figures.refused, "refused")
        }
        Some(124) => (&mut figures.hung, "hung"),
        _ => {
            println!("{:?}: {}{}", told.code, told.out, told.err);
            (&mut figures.silent, "silent")
        }
    };
    *count += 1;
    verdict
}

/// The same inputs, and the same made of them; each opening adds a few records of its own.
fn is_right(filled: &Filled, told: &Told) -> bool {
    let (report, truth) = (told.json(), &filled.truth);
    let fields = ["stateDigest", "inputs", "aggregates", "ledgerEntries"];
    fields.iter().all(|field| report[field] == truth[field])
        && report["journalRecords"].as_u64() >= truth["journalRecords"].as_u64()
}

fn names(text: &str, file: &Path) -> bool {
    text.contains(&*file.file_name().unwrap().to_string_lossy())
}
