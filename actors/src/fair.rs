//! A queue that serves groups in turn, so that one busy customer does not make the others wait.
//!
//! Invariants: a key is in the queue at most once; every group with a key comes up once per round;
//! a group at its cap is passed over, not dropped.

use bursar_domain::aggregate::AggregateKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Whose work something is: a data subject (customer, account), else the aggregate itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(pub String);

impl Group {
    /// The group of a key nobody said more about: its connected account, else itself.
    pub fn of(key: &AggregateKey) -> Self {
        let scope = match key {
            AggregateKey::Customer(scope, _)
            | AggregateKey::Subscription(scope, _)
            | AggregateKey::Invoice(scope, _)
            | AggregateKey::Payment(scope, _)
            | AggregateKey::Session(scope, _)
            | AggregateKey::Installation(scope) => scope.as_str(),
            AggregateKey::Merchant(account) => account.as_str(),
            AggregateKey::Tenant(_) | AggregateKey::Command(_) => "",
        };
        if scope.is_empty() {
            Self(key.to_string())
        } else {
            Self(format!("account:{scope}"))
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    ring: VecDeque<Group>,
    waiting: BTreeMap<Group, VecDeque<AggregateKey>>,
    members: BTreeSet<AggregateKey>,
}

impl FairQueue {
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }
    /// Adds a key at the end of its group, unless it is there.
    pub(crate) fn push(&mut self, key: AggregateKey, group: Group) {
        if !self.members.insert(key.clone()) {
            return;
        }
        let line = self.waiting.entry(group.clone()).or_default();
        if line.is_empty() {
            self.ring.push_back(group);
        }
        line.push_back(key);
    }
    /// The next key of the next group that `may` run; the group goes to the end of the ring.
    pub(crate) fn pop(&mut self, may: impl Fn(&Group) -> bool) -> Option<(AggregateKey, Group)> {
        for _ in 0..self.ring.len() {
            let group = self.ring.pop_front()?;
            if !may(&group) {
                self.ring.push_back(group);
                continue;
            }
            let line = self.waiting.get_mut(&group)?;
            let key = line.pop_front();
            if line.is_empty() {
                self.waiting.remove(&group);
            } else {
                self.ring.push_back(group.clone());
            }
            let key = key?;
            self.members.remove(&key);
            return Some((key, group));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> AggregateKey {
        AggregateKey::parse(&format!("payment:/pi_{n}")).unwrap()
    }
    fn group(name: &str) -> Group {
        Group(name.into())
    }

    #[test]
    fn a_group_with_one_key_waits_for_one_of_each_other_group_only() {
        let mut queue = FairQueue::default();
        for n in 0..100 {
            queue.push(key(n), group("busy"));
        }
        queue.push(key(500), group("quiet"));
        queue.push(key(500), group("quiet"));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(|_| true)).collect();
        assert_eq!(order.len(), 101);
        assert_eq!(order[1].0, key(500));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_group_at_its_cap_is_passed_over_and_kept() {
        let mut queue = FairQueue::default();
        queue.push(key(1), group("capped"));
        queue.push(key(2), group("free"));
        assert_eq!(queue.pop(|g| g.0 == "free").unwrap().0, key(2));
        assert!(queue.pop(|g| g.0 == "free").is_none());
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.pop(|_| true).unwrap().0, key(1));
    }

    #[test]
    fn objects_of_a_connected_account_are_one_group() {
        let a = AggregateKey::parse("payment:acct_1/pi_1").unwrap();
        let b = AggregateKey::parse("merchant:acct_1").unwrap();
        assert_eq!(Group::of(&a), Group::of(&b));
        assert_ne!(Group::of(&key(1)), Group::of(&key(2)));
    }
}
