use super::*;
use proptest::prelude::*;

fn key(n: u32) -> AggregateKey {
    AggregateKey::parse(&format!("payment:/pi_{n}")).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn slots(limits: Limits) -> Slots<u64> {
    Slots::new(limits)
}

/// Runs `next` and plays the shell: actors are their generation.
fn start(slots: &mut Slots<u64>, now: Duration) -> Option<(AggregateKey, u64)> {
    match slots.next(now)? {
        Start::Spawn { key, generation } => {
            slots.spawned(&key, generation);
            Some((key, generation))
        }
        Start::Hint { actor } => {
            let key = slots
                .slots
                .iter()
                .find_map(|(key, slot)| match slot {
                    Slot::Live { generation, .. } if *generation == actor => Some(key.clone()),
                    _ => None,
                })
                .unwrap();
            Some((key, actor))
        }
    }
}

#[test]
fn a_wake_during_a_turn_is_followed_by_another_turn() {
    let mut slots = slots(Limits::default());
    slots.wake(key(1), None);
    let (k, generation) = start(&mut slots, secs(1)).unwrap();
    slots.wake(key(1), None);
    slots.wake(key(1), None);
    assert!(start(&mut slots, secs(1)).is_none());
    slots.turned(&k, generation, &Turn::Idle, secs(1));
    assert_eq!(start(&mut slots, secs(1)), Some((key(1), generation)));
    slots.turned(&k, generation, &Turn::Idle, secs(1));
    assert!(start(&mut slots, secs(1)).is_none());
}

#[test]
fn an_idle_actor_is_drained_and_a_wake_meanwhile_starts_another() {
    let mut slots = slots(Limits::default());
    slots.wake(key(1), None);
    let (k, first) = start(&mut slots, secs(1)).unwrap();
    slots.turned(&k, first, &Turn::Idle, secs(1));
    let idle = Limits::default().entity_idle;
    slots.tick(idle);
    assert!(slots.drains().is_empty());
    slots.tick(secs(1) + idle);
    assert_eq!(slots.drains(), [first]);
    slots.wake(key(1), None);
    assert!(start(&mut slots, secs(62)).is_none(), "one actor at a time");
    slots.exited(&k, first, false, secs(62));
    let (_, second) = start(&mut slots, secs(62)).unwrap();
    assert_ne!(first, second);
}

#[test]
fn the_least_recently_used_makes_room_above_the_cap() {
    let mut slots = slots(Limits {
        entities_live_max: 3,
        ..Limits::default()
    });
    for n in 0..4 {
        slots.wake(key(n), None);
        let (k, generation) = start(&mut slots, secs(n.into())).unwrap();
        slots.turned(&k, generation, &Turn::Idle, secs(n.into()));
    }
    assert_eq!(slots.drains(), [1]);
}

#[test]
fn five_failures_within_a_minute_set_an_aggregate_aside_and_it_comes_back_by_itself() {
    let mut slots = slots(Limits::default());
    let mut now = secs(1);
    slots.wake(key(1), None);
    for failure in 1..=5 {
        let (k, generation) = start(&mut slots, now).unwrap();
        slots.exited(&k, generation, true, now);
        assert_eq!(slots.counts().cooling, 1);
        assert_eq!(slots.counts().quarantined, usize::from(failure == 5));
        slots.wake(key(1), None);
        assert!(start(&mut slots, now).is_none(), "cooling is not woken");
        let (until, _) = slots.wakeups.first().cloned().unwrap();
        if failure < 5 {
            now = until;
            slots.tick(now);
        }
    }
    let (until, _) = slots.wakeups.first().cloned().unwrap();
    assert!(until - now >= secs(48) && until - now <= secs(600));
    slots.tick(until);
    let (k, generation) = start(&mut slots, until).unwrap();
    slots.turned(&k, generation, &Turn::Idle, until);
    assert!(slots.failures.is_empty(), "a good turn clears the record");
    assert_eq!(slots.counts().quarantined, 0);
}

#[test]
fn a_quarantined_aggregate_that_keeps_failing_waits_ten_minutes_at_most() {
    let mut slots = slots(Limits::default());
    let mut now = secs(1);
    slots.wake(key(1), None);
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let (k, generation) = start(&mut slots, now).unwrap();
        slots.exited(&k, generation, true, now);
        let (until, _) = slots.wakeups.first().cloned().unwrap();
        longest = longest.max(until - now);
        now = until;
        slots.tick(now);
    }
    assert!(longest > secs(400) && longest <= secs(600), "{longest:?}");
}

#[test]
fn many_aggregates_failing_at_once_pause_pulling_for_all_and_few_do_not() {
    for (failing, paused) in [(50, false), (51, true)] {
        let mut slots = slots(Limits::default());
        for n in 0..failing {
            slots.wake(key(n), None);
        }
        while let Some((k, generation)) = start(&mut slots, secs(1)) {
            slots.turned(&k, generation, &Turn::Trouble, secs(1));
        }
        slots.wake(key(1_000), None);
        assert_eq!(start(&mut slots, secs(2)).is_none(), paused, "{failing}");
        assert_eq!(slots.pauses(), u64::from(paused));
        assert!(start(&mut slots, secs(7)).is_some() || !paused);
    }
}

#[test]
fn one_group_never_takes_more_than_its_share() {
    let mut slots = slots(Limits {
        entities_busy_max: 10,
        group_busy_max: 3,
        ..Limits::default()
    });
    for n in 0..100 {
        slots.wake(key(n), Some(Group("loud".into())));
    }
    slots.wake(key(500), Some(Group("quiet".into())));
    let begun: Vec<_> = std::iter::from_fn(|| start(&mut slots, secs(1))).collect();
    assert_eq!(begun.len(), 4);
    assert!(begun.iter().any(|(k, _)| *k == key(500)));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Accept(u32),
    Start,
    End(usize, u8),
    Exit(bool),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..6_u32).prop_map(Op::Accept),
        4 => Just(Op::Start),
        4 => (0..8_usize, 0..4_u8).prop_map(|(n, how)| Op::End(n, how)),
        2 => any::<bool>().prop_map(Op::Exit),
        3 => (0..90_000_u64).prop_map(Op::Pass),
    ]
}

fn cases() -> u32 {
    std::env::var("BURSAR_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(128)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    // The store is modelled as a count of pending inputs per key. Whatever races: nothing pending is
    // forgotten, no key has two actors in a turn, and the bounds hold.
    #[test]
    fn no_race_of_wakes_drains_and_failures_forgets_pending_work(ops in prop::collection::vec(op(), 1..200)) {
        let limits = Limits { entities_live_max: 3, entities_busy_max: 2, group_busy_max: 2, ..Limits::default() };
        let mut slots = slots(limits);
        let mut pending: BTreeMap<AggregateKey, u32> = BTreeMap::new();
        let mut working: Vec<(AggregateKey, u64, u32)> = Vec::new();
        let mut draining: VecDeque<u64> = VecDeque::new();
        let mut owner: BTreeMap<u64, AggregateKey> = BTreeMap::new();
        let mut now = Duration::ZERO;
        let step = |op: Op, slots: &mut Slots<u64>, pending: &mut BTreeMap<AggregateKey, u32>,
                        working: &mut Vec<(AggregateKey, u64, u32)>, draining: &mut VecDeque<u64>,
                        owner: &mut BTreeMap<u64, AggregateKey>, now: &mut Duration| {
            match op {
                Op::Accept(n) => {
                    *pending.entry(key(n)).or_default() += 1;
                    slots.wake(key(n), None);
                }
                Op::Start => {
                    if let Some((k, generation)) = start(slots, *now) {
                        owner.insert(generation, k.clone());
                        let pulled = pending.get(&k).copied().unwrap_or(0);
                        working.push((k, generation, pulled));
                    }
                }
                Op::End(n, how) if !working.is_empty() => {
                    let (k, generation, pulled) = working.swap_remove(n % working.len());
                    match how {
                        0 => slots.turned(&k, generation, &Turn::Trouble, *now),
                        1 => slots.exited(&k, generation, true, *now),
                        _ => {
                            // What came after the pull is still there.
                            let left = pending.remove(&k).unwrap_or(0) - pulled;
                            if left > 0 {
                                pending.insert(k.clone(), left);
                            }
                            slots.turned(&k, generation, &Turn::Idle, *now);
                        }
                    }
                }
                Op::Exit(failed) => {
                    if let Some(generation) = draining.pop_front() {
                        slots.exited(&owner[&generation].clone(), generation, failed, *now);
                    }
                }
                Op::Pass(ms) => {
                    *now += Duration::from_millis(ms);
                    slots.tick(*now);
                }
                Op::End(..) => {}
            }
            draining.extend(slots.drains());
        };
        for op in ops {
            step(op, &mut slots, &mut pending, &mut working, &mut draining, &mut owner, &mut now);
            prop_assert!(working.len() <= 2);
            prop_assert_eq!(slots.busy(), working.len());
            let distinct: BTreeSet<_> = working.iter().map(|(k, _, _)| k).collect();
            prop_assert_eq!(distinct.len(), working.len());
        }
        for _ in 0..40 {
            for op in [Op::Pass(700_000), Op::Exit(false), Op::Exit(false), Op::Start, Op::End(0, 2), Op::Start, Op::End(0, 2)] {
                step(op, &mut slots, &mut pending, &mut working, &mut draining, &mut owner, &mut now);
            }
        }
        prop_assert!(pending.is_empty(), "forgotten: {pending:?}");
    }
}
