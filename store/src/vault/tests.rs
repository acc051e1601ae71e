//! What the vault promises, tried on a simulated disk.

use super::*;
use crate::vfs::{Errno, Fault, SimVfs};

const ID: InstallationId = InstallationId(*b"installation-one");

fn dir() -> PathBuf {
    PathBuf::from("/data/vault")
}

fn open(disk: &SimVfs) -> Result<(Vault, VaultReport), JournalError> {
    let lock = DirLock::acquire(disk, Path::new("/data"), 1, Path::new("/s"))?;
    Vault::open(Arc::new(disk.clone()), &dir(), &lock, ID, true)
}

#[test]
fn sealed_text_opens_only_with_the_same_context_and_only_until_erased() {
    let disk = SimVfs::new();
    let (vault, report) = open(&disk).unwrap();
    assert!(report.created);
    let body = b"{\"email\":\"a@example.com\"}".repeat(20);
    let sealed = vault.seal("cus_1", b"evt_1", &body).unwrap();
    let other = vault.seal("cus_2", b"evt_2", b"short").unwrap();
    assert!(sealed.len() < body.len(), "repeating text is compressed");
    assert_eq!(vault.unseal(b"evt_1", &sealed).unwrap(), body);
    assert_eq!(vault.unseal(b"evt_2", &sealed), Err(UnsealError::Damaged));
    vault.sync_new_keys().unwrap();
    assert!(vault.erase("cus_1").unwrap());
    assert!(!vault.erase("cus_1").unwrap());
    drop(vault);
    disk.power_cut(1);
    let (vault, report) = open(&disk).unwrap();
    assert_eq!(
        (report.keys, report.erased, report.repaired),
        (1, 1, vec![])
    );
    assert_eq!(vault.unseal(b"evt_1", &sealed), Err(UnsealError::Erased));
    assert_eq!(vault.unseal(b"evt_2", &other).unwrap(), b"short");
    assert!(vault.was_erased("cus_1") && !vault.was_erased("cus_2"));
    let again = vault.seal("cus_1", b"evt_3", b"new key").unwrap();
    assert_eq!(vault.unseal(b"evt_3", &again).unwrap(), b"new key");
    assert_eq!(vault.unseal(b"evt_1", &sealed), Err(UnsealError::Erased));
}

#[test]
fn a_failed_sync_of_keys_poisons_the_vault() {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    vault.seal("cus_1", b"", b"x").unwrap();
    disk.fail(Fault {
        at: disk.operations() + 1,
        errno: Errno::Eio,
        lasting: false,
    });
    assert!(matches!(
        vault.sync_new_keys(),
        Err(JournalError::Io { .. })
    ));
    assert!(matches!(
        vault.sync_new_keys(),
        Err(JournalError::Poisoned { .. })
    ));
}

/// The vault's files with two keys, one of them young, and one erased.
fn settled() -> (SimVfs, Vec<Vec<u8>>) {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    let seal = |subject| vault.seal(subject, b"", subject.as_bytes()).unwrap();
    let gone = seal("cus_gone");
    let first = seal("cus_1");
    vault.sync_new_keys().unwrap();
    assert!(vault.erase("cus_gone").unwrap());
    let second = seal("month:2026-11");
    vault.sync_new_keys().unwrap();
    (disk.clone(), vec![first, second, gone])
}

fn readable(vault: &Vault, sealed: &[Vec<u8>]) {
    assert_eq!(vault.unseal(b"", &sealed[0]).unwrap(), b"cus_1");
    assert_eq!(vault.unseal(b"", &sealed[1]).unwrap(), b"month:2026-11");
    assert_eq!(vault.unseal(b"", &sealed[2]), Err(UnsealError::Erased));
}

#[test]
fn every_byte_of_either_copy_matters_and_the_other_copy_mends_it() {
    let (disk, sealed) = settled();
    let (mut flips, mut silent) = (0, 0);
    for name in files::NAMES {
        let path = dir().join(name);
        let whole = disk.bytes(&path).unwrap();
        for at in 0..whole.len() {
            let copy = disk.copy();
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            copy.plant(&path, &bytes);
            let (vault, report) = open(&copy).unwrap();
            readable(&vault, &sealed);
            flips += 1;
            silent += u32::from(!report.repaired.iter().any(|damage| damage.file == path));
            assert_eq!(
                copy.bytes(&path).unwrap(),
                whole,
                "{name} {at} was not mended"
            );
        }
    }
    println!("vault flips={flips} silent={silent}");
    assert!(flips > 300);
    assert_eq!(silent, 0);
}

#[test]
fn two_damaged_copies_a_missing_vault_and_a_foreign_one_are_refused() {
    let (disk, sealed) = settled();
    let hurt = |name: &str, at: usize, disk: &SimVfs| {
        let mut bytes = disk.bytes(&dir().join(name)).unwrap();
        bytes[at] ^= 1;
        disk.plant(&dir().join(name), &bytes);
    };
    let both = disk.copy();
    hurt("keys.a", 100, &both);
    hurt("keys.b", 200, &both);
    let Err(JournalError::Damage(damage)) = open(&both).map(|_| ()) else {
        panic!("opened")
    };
    assert_eq!(damage.file, dir().join("keys.a"));
    assert!(matches!(
        damage.kind,
        crate::journal::DamageKind::BothCopies { .. }
    ));
    let lock = DirLock::acquire(&disk, Path::new("/data"), 1, Path::new("/s")).unwrap();
    let foreign = Vault::open(
        Arc::new(disk.clone()),
        &dir(),
        &lock,
        InstallationId([3; 16]),
        true,
    );
    assert!(matches!(foreign, Err(JournalError::Damage(_))));
    for name in files::NAMES {
        disk.remove(&dir().join(name)).unwrap();
        if name == "keys.a" {
            drop(Vault::open(Arc::new(disk.copy()), &dir(), &lock, ID, false).unwrap());
        }
    }
    let missing = Vault::open(Arc::new(disk.clone()), &dir(), &lock, ID, false);
    assert!(matches!(missing, Err(JournalError::Damage(_))));
    let (vault, _) = Vault::open(Arc::new(disk.clone()), &dir(), &lock, ID, true).unwrap();
    let unknown = vault.unseal(b"", &sealed[0]);
    assert_eq!(unknown, Err(UnsealError::UnknownKey { key_id: 2 }));
}

#[test]
fn a_crash_at_any_step_keeps_synced_keys_and_never_brings_back_an_erased_one() {
    let cases: u64 = std::env::var("BURSAR_CASES").map_or(300, |cases| cases.parse().unwrap());
    let (mut points, mut reopened) = (0, 0);
    for seed in 0..cases.div_ceil(30) {
        for at in 0.. {
            let disk = SimVfs::new();
            disk.fail(Fault {
                at,
                errno: Errno::Eio,
                lasting: true,
            });
            let (mut kept, mut erased) = (Vec::new(), Vec::new());
            let failed = keys_come_and_go(&disk, &mut kept, &mut erased);
            for round in 0..2 {
                if round == 1 {
                    disk.power_cut(seed * 1_000 + at);
                }
                disk.heal();
                let (vault, _) = open(&disk).unwrap_or_else(|e| panic!("{seed} at {at}: {e}"));
                for sealed in &kept {
                    assert_eq!(
                        vault.unseal(b"", sealed).unwrap(),
                        b"text",
                        "seed {seed} at {at}"
                    );
                }
                for sealed in &erased {
                    assert_eq!(vault.unseal(b"", sealed), Err(UnsealError::Erased));
                }
                reopened += 1;
            }
            points += 1;
            if failed.is_ok() {
                break;
            }
        }
    }
    println!("vault crash_points={points} reopened={reopened} lost=0 resurrected=0");
    assert!(points > 100);
}

/// Makes, syncs and erases keys; `kept` and `erased` hold what was answered.
fn keys_come_and_go(
    disk: &SimVfs,
    kept: &mut Vec<Vec<u8>>,
    erased: &mut Vec<Vec<u8>>,
) -> Result<(), JournalError> {
    for session in 0..2 {
        let (vault, _) = open(disk)?;
        for round in 0..3 {
            let seal = |name| {
                vault
                    .seal(&format!("{name}_{session}_{round}"), b"", b"text")
                    .unwrap()
            };
            let (stays, goes) = (seal("stays"), seal("goes"));
            vault.sync_new_keys()?;
            kept.push(stays);
            if vault.erase(&format!("goes_{session}_{round}"))? {
                erased.push(goes);
            }
        }
    }
    Ok(())
}

#[test]
fn the_bytes_of_a_key_file_stay_as_they_are() {
    let mut bytes = Zeroizing::default();
    files::encode_key(&mut bytes, 64, 1, &[0xAB; 32], "cus_1");
    files::encode_erased(&mut bytes, 64, 2, &[0xCD; 32]);
    let golden = [
        "2e000000",
        "6e03b663",
        "01",
        "0100000000000000",
        &"ab".repeat(32),
        "6375735f31",
        "29000000",
        "8518a418",
        "02",
        "0200000000000000",
        &"cd".repeat(32),
    ];
    assert_eq!(hex::encode(&bytes[..]), golden.concat());
    let header = files::encode_header(ID, 3);
    let golden = [
        "4255525341524b56",
        "01000000",
        "00000000",
        "696e7374616c6c6174696f6e2d6f6e65",
        "0300000000000000",
        &"00".repeat(20),
        "0fe891de",
    ];
    assert_eq!(hex::encode(header), golden.concat());
}

#[test]
fn changed_sealed_bytes_are_never_opened() {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    let body = b"some text that compresses ".repeat(8);
    let sealed = vault.seal("cus_1", b"evt_1", &body).unwrap();
    assert_eq!(
        (sealed[0], sealed[1], &sealed[2..10]),
        (1, 1, &1_u64.to_le_bytes()[..])
    );
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(vault.unseal(b"evt_1", &changed).is_err(), "byte {at}");
        assert!(
            vault.unseal(b"evt_1", &sealed[..at]).is_err(),
            "cut at {at}"
        );
    }
    assert_ne!(
        vault.seal("cus_1", b"evt_1", &body).unwrap(),
        sealed,
        "every seal has its own nonce"
    );
    assert!(
        !format!("{vault:?}").contains("["),
        "no key bytes: {vault:?}"
    );
}

#[test]
fn one_subject_gets_one_key_however_many_threads_seal() {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for i in 0..50 {
                    let subject = format!("cus_{}", i % 10);
                    let sealed = vault.seal(&subject, b"", b"x").unwrap();
                    vault.sync_new_keys().unwrap();
                    assert_eq!(vault.unseal(b"", &sealed).unwrap(), b"x");
                }
            });
        }
    });
    drop(vault);
    assert_eq!(open(&disk).unwrap().1.keys, 10);
}

#[test]
fn an_older_copy_put_back_does_not_bring_an_erased_key_back() {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    let sealed = vault.seal("cus_with_a_long_name", b"", b"x").unwrap();
    vault.sync_new_keys().unwrap();
    for name in files::NAMES {
        let old = disk.bytes(&dir().join(name)).unwrap();
        let copy = disk.copy();
        let (vault, _) = open(&copy).unwrap();
        vault.erase("cus_with_a_long_name").unwrap();
        assert!(copy.bytes(&dir().join(name)).unwrap().len() < old.len());
        copy.plant(&dir().join(name), &old);
        drop(vault);
        let (vault, report) = open(&copy).unwrap();
        assert_eq!(vault.unseal(b"", &sealed), Err(UnsealError::Erased));
        assert_eq!(report.repaired.len(), 1);
        assert_ne!(copy.bytes(&dir().join(name)).unwrap(), old);
    }
}

#[test]
fn several_subjects_are_erased_in_one_rewrite_and_none_in_no_rewrite() {
    let disk = SimVfs::new();
    let (vault, _) = open(&disk).unwrap();
    let sealed = ["cus_1", "cus_2", "cus_3"].map(|subject| vault.seal(subject, b"", b"x").unwrap());
    vault.sync_new_keys().unwrap();
    assert_eq!(
        vault
            .erase_all(["cus_1", "cus_9", "cus_3", "cus_1"])
            .unwrap(),
        2
    );
    let generation = disk.bytes(&dir().join("keys.a")).unwrap()[32];
    assert_eq!(generation, 2);
    let operations = disk.operations();
    assert_eq!(vault.erase_all(["cus_1", "cus_9"]).unwrap(), 0);
    assert_eq!(disk.operations(), operations);
    let found = sealed.map(|sealed| vault.unseal(b"", &sealed));
    assert_eq!(
        found,
        [
            Err(UnsealError::Erased),
            Ok(b"x".to_vec()),
            Err(UnsealError::Erased)
        ]
    );
}
