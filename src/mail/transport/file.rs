//! Mail as files, for trying out: `{data}/mail/*.eml`, readable by their owner alone.
//!
//! Invariants: a file appears whole or not at all; the same mail twice is one file.
//! Not here: deleting them. Whoever lets mail go to files reads them, and clears the folder.
//! Failure: a disk that is full or not ours is tried again later.

use super::{SendError, Transport};
use crate::mail::letter::{Letter, Sender};
use bursar_actors::ports::PortFuture;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes letters into a folder.
#[derive(Debug)]
pub struct ToFiles {
    folder: PathBuf,
    sender: Sender,
}

impl ToFiles {
    /// Into `folder`, which is made with the first letter.
    pub const fn new(folder: PathBuf, sender: Sender) -> Self {
        Self { folder, sender }
    }
}

impl Transport for ToFiles {
    fn name(&self) -> &'static str {
        "file"
    }
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let mime = self.sender.mime(letter).map_err(SendError::Refused)?;
            // Hex digits and a dot: it comes from the effect.
            let id = letter.message_id.trim_matches(['<', '>']);
            let name = id.split('@').next().unwrap_or_default().to_owned();
            let (folder, bytes) = (self.folder.clone(), mime.formatted());
            let written = tokio::task::spawn_blocking(move || write(&folder, &name, &bytes));
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(SendError::away(format!("no file can be written: {error}"))),
                Err(error) => Err(SendError::away(format!("the writer failed: {error}"))),
            }
        })
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let part = folder.join(format!("{name}.part"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(part, folder.join(format!("{name}.eml")))
}
