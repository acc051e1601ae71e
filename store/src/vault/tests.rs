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
