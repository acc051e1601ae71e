//! The open group: whose commits it has, their records, and the room those take.

use crate::engine::commit::Answer;
use crate::engine::queue::NEAR;
use crate::error::StoreError;
use bursar_domain::link::LinkKey;
use bursar_domain::rows::Subject;
use std::time::Duration;
use tokio::time::Instant;

/// Most commits of one group.
const GROUP_COMMITS_MAX: usize = 256;
/// Of these, from the line behind: whoever comes in front meanwhile waits for all of them. Few while deliveries come,
/// and enough to share a sync well when none did for this long.
const GROUP_BEHIND_NEAR: usize = 6;
const GROUP_BEHIND_FAR: usize = 32;
/// A group takes no further commit once its records have this many bytes.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Rooms for records that are kept, and how large they may be: a megabyte in all.
const ROOMS_MAX: usize = 64;
const ROOM_BYTES_MAX: usize = 16 << 10;

/// A commit of the open group: who waits, and with what answer.
pub(super) struct Member {
    pub(super) label: &'static str,
    pub(super) since: Instant,
    pub(super) answer: Option<tokio::sync::oneshot::Sender<Result<Answer, StoreError>>>,
    pub(super) came_to: Result<Answer, StoreError>,
}

/// The open group.
#[derive(Default)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) bytes: usize,
    pub(super) erased: Vec<Subject>,
    pub(super) unfreed: Vec<LinkKey>,
    /// Whether somebody outside waits for it.
    pub(super) has_front: bool,
    /// Commits of the line behind, and the time they took so far.
    pub(super) behind: usize,
    pub(super) behind_for: Duration,
}

impl Group {
    pub(super) fn has_room(&self) -> bool {
        self.members.len() < GROUP_COMMITS_MAX && self.bytes < GROUP_BYTES_MAX
    }
    /// Whether it takes more from the line behind, the last delivery being this long ago.
    pub(super) fn has_room_behind(&self, since_delivery: Duration) -> bool {
        let most = if since_delivery < NEAR {
            GROUP_BEHIND_NEAR
        } else {
            GROUP_BEHIND_FAR
        };
        self.behind < most
    }
}

/// Room for records, taken once: a few kilobytes each, again and again, are what an allocator is slowest at.
#[derive(Default)]
pub(in crate::engine) struct Rooms(Vec<Vec<u8>>);

impl Rooms {
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }
    /// Takes back the room of records that are written.
    pub(super) fn keep(&mut self, written: &mut Vec<Vec<u8>>) {
        let small = written
            .drain(..)
            .filter(|room| room.capacity() <= ROOM_BYTES_MAX);
        self.0.extend(small.take(ROOMS_MAX - self.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_keep_what_is_behind_short() {
        let taken_in = |since: Duration| {
            let mut group = Group::default();
            while group.has_room_behind(since) {
                group.behind += 1;
            }
            group.behind
        };
        assert_eq!(taken_in(Duration::ZERO), GROUP_BEHIND_NEAR);
        assert_eq!(taken_in(NEAR), GROUP_BEHIND_FAR);
    }

    #[test]
    fn room_is_used_again_and_bounded() {
        let mut rooms = Rooms::default();
        let mut written: Vec<Vec<u8>> = (0..ROOMS_MAX + 9).map(|_| vec![7; 100]).collect();
        written.push(vec![7; ROOM_BYTES_MAX + 1]);
        rooms.keep(&mut written);
        assert!(written.is_empty() && rooms.0.len() == ROOMS_MAX);
        rooms.keep(&mut vec![vec![7; 100]]);
        assert_eq!(rooms.0.len(), ROOMS_MAX);
        assert!((0..ROOMS_MAX).all(|_| rooms.take().capacity() >= 100));
        assert_eq!(rooms.take().capacity(), 0);
    }
}
