//! The store's files (BF), each damage on a copy of what the server left: refused loudly, or right.

use super::environment::ended;
use super::{Tally, World};
use crate::child::{Server, Settings};
use std::path::{Path, PathBuf};

/// How a start over a damaged copy has to go.
enum Wanted {
    /// It serves, with everything there was.
    Serves,
    /// It refuses, with one of these codes, naming this.
    Refuses(&'static [i32], &'static str),
}
use Wanted::{Refuses, Serves};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The newest segment of the journal.
fn segment(data: &Path) -> PathBuf {
    let journal = std::fs::read_dir(data.join("journal")).unwrap();
    let files = journal.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "segment"))
        .max()
        .unwrap()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// How much of a segment was written: what follows is zeros, made in advance.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1
}

pub(super) async fn rows(world: &World, tally: &mut Tally) {
    let whole = world.settings.data_dir();
    type Damage = fn(&Path);
    let damages: [(&str, Damage, Wanted); 9] = [
        ("BF1", |data| std::fs::remove_dir_all(data).unwrap(), Serves),
        (
            "BF1",
            |data| {
                std::fs::remove_dir_all(data).unwrap();
                std::fs::write(data, "a file").unwrap();
            },
            Refuses(&[73, 74, 78], "data"),
        ),
        (
            "BF2",
            |data| change(&segment(data), |bytes| bytes.extend([7, 0, 0, 0, 1])),
            Refuses(&[65], "journal"),
        ),
        (
            "BF2",
            |data| change(&segment(data), |bytes| bytes.truncate(written(bytes) - 3)),
            Refuses(&[65], "journal"),
        ),
        (
            "BF3",
            |data| {
                change(&segment(data), |bytes| {
                    let middle = written(bytes) / 2;
                    bytes[middle] ^= 1;
                });
            },
            Refuses(&[65], "journal"),
        ),
        (
            "BF4",
            |data| {
                let segment = segment(data);
                std::fs::rename(&segment, segment.with_extension("moved")).unwrap();
            },
            Refuses(&[65], "journal"),
        ),
        (
            "BF5",
            |data| {
                change(&segment(data), |bytes| {
                    let middle = written(bytes) / 2;
                    bytes[middle..middle + 8].fill(0xff);
                });
            },
            Refuses(&[65], "journal"),
        ),
        (
            "BF6",
            |data| std::fs::remove_dir_all(data.join("journal")).unwrap(),
            Refuses(&[65], "damage"),
        ),
        (
            "BF7",
            |data| std::fs::remove_dir_all(data.join("sled")).unwrap(),
            Serves,
        ),
    ];
    for (row, damage, wanted) in damages {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::in_folder(folder.path());
        copy(&whole, &settings.data_dir());
        let is_empty = row == "BF1";
        damage(&settings.data_dir());
        match wanted {
            Serves => {
                let mut server = Server::start(&settings);
                server.wait_ready().await;
                let seen = server.get("/api/v1/tenants/t1").await;
                let is_there = seen["tenantId"] == "t1";
                tally.case(row, is_there != is_empty, || format!("{seen}"));
                tally.panics += server.panics();
                let code = server.terminate();
                tally.case(row, code == Some(0), || format!("ended with {code:?}"));
            }
            Refuses(codes, says) => {
                let mut command = settings.command();
                command.arg("serve");
                let (code, text) = tokio::task::block_in_place(|| ended(command));
                let is_right =
                    code.is_some_and(|code| codes.contains(&code)) && text.contains(says);
                tally.case(row, is_right, || format!("{code:?} {text}"));
                tally.panics += text.matches("panicked at").count();
            }
        }
    }
}
