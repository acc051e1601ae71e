//! The simulated disk must forget and tear as real ones do, or the tests above it prove nothing.

use std::path::{Path, PathBuf};

use super::*;

fn disk() -> SimVfs {
    let disk = SimVfs::new();
    disk.create_dir(Path::new("/d")).unwrap();
    disk
}

fn path() -> PathBuf {
    PathBuf::from("/d/file")
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let (mut torn, mut kept, mut lost) = (0, 0, 0);
    for seed in 0..200 {
        let disk = disk();
        let file = disk.create(&path()).unwrap();
        file.write_at(&[1; 2048], 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
        disk.power_cut(seed);
        let bytes = disk.bytes(&path()).unwrap();
        assert_eq!(
            (bytes.len(), &bytes[..512], &bytes[1536..]),
            (2048, &[1; 512][..], &[1; 512][..])
        );
        let sectors = [bytes[512], bytes[1024]];
        assert!(
            bytes[512..1024].iter().all(|byte| *byte == sectors[0]),
            "sectors are whole"
        );
        match sectors {
            [2, 2] => kept += 1,
            [1, 1] => lost += 1,
            _ => torn += 1,
        }
        assert!(file.sync_data().is_err(), "a handle does not survive");
    }
    assert!(torn > 20 && kept > 20 && lost > 20, "{torn} {kept} {lost}");
}

#[test]
fn a_name_is_certain_only_after_its_directory_was_synced() {
    let (mut there, mut gone) = (0, 0);
    for seed in 0..100 {
        let disk = disk();
        disk.create(&path()).unwrap().write_at(b"x", 0).unwrap();
        disk.power_cut(seed);
        match disk.bytes(&path()) {
            Some(_) => there += 1,
            None => gone += 1,
        }
    }
    assert!(there > 20 && gone > 20, "{there} {gone}");
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next_one() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk();
        let file = disk.create(&path()).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[7; 512], 0).unwrap();
        disk.fail(Fault {
            at: disk.operations(),
            errno: Errno::Eio,
            lasting: false,
        });
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        disk.power_cut(seed);
        lost += u32::from(disk.bytes(&path()).unwrap() != vec![7; 512]);
    }
    assert_eq!(lost, 50);
}

#[test]
fn a_real_file_is_replaced_whole_and_a_lock_ends_with_its_handle() {
    let temp = tempfile::tempdir().unwrap();
    let vfs = RealVfs;
    for text in [&b"first"[..], b"2nd"] {
        replace(&vfs, temp.path(), "file", text).unwrap();
        assert_eq!(std::fs::read(temp.path().join("file")).unwrap(), text);
    }
    assert_eq!(vfs.list(temp.path()).unwrap(), ["file"]);
    assert!(vfs.free_space(temp.path()).unwrap() > 0);
    let open = || vfs.open(&temp.path().join("file"), Access::Write).unwrap();
    let (first, second) = (open(), open());
    assert!(first.try_lock().unwrap() && !second.try_lock().unwrap());
    drop(first);
    assert!(second.try_lock().unwrap());
}
