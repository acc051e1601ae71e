//! Runs of the reconciler against a Stripe that is a list of events: bounds, patience, ends.

use super::world::START;
use crate::clock::TestClock;
use crate::core_reducer::CoreReducer;
use crate::env::Core;
use crate::limits::Limits;
use crate::outbound::Performers;
use crate::ports::{PortFuture, ReadAnswer, ReadError, StripeRead};
use crate::reconcile::{Mode, NotStarted, Order, Report, RunStatus};
use crate::tree::{Deps, Tree};
use bursar_domain::ids::Scope;
use bursar_domain::settings::Settings;
use bursar_store::MemStore;
use bursar_store::api::Store;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lists so many events of customers, newest first; every other list is empty.
struct Listing {
    events: usize,
    asked: Mutex<Vec<String>>,
    /// What the next calls answer instead.
    failures: Mutex<Vec<ReadError>>,
    /// Never answers.
    hangs: bool,
}

impl Listing {
    fn of(events: usize) -> Arc<Self> {
        Arc::new(Self {
            events,
            asked: Mutex::default(),
            failures: Mutex::default(),
            hangs: false,
        })
    }

    fn page(&self, path: &str) -> String {
        if !path.starts_with("/v1/events?limit=100&created") {
            return r#"{"object":"list","data":[],"has_more":false}"#.to_owned();
        }
        let newest = match path.split_once("starting_after=evt_") {
            Some((_, after)) => after.parse::<usize>().unwrap() - 1,
            None => self.events,
        };
        let oldest = newest.saturating_sub(100);
        let created = START.seconds() - 300;
        let items: Vec<String> = (oldest + 1..=newest)
            .rev()
            .map(|n| {
                format!(
                    r#"{{"id":"evt_{n}","object":"event","type":"customer.updated","created":{created},"livemode":false,"data":{{"object":{{"id":"cus_{n}","object":"customer","created":{created},"metadata":{{}}}}}}}}"#
                )
            })
            .collect();
        let (items, more) = (items.join(","), oldest > 0);
        format!(r#"{{"object":"list","data":[{items}],"has_more":{more}}}"#)
    }
}

impl StripeRead for Listing {
    fn get(&self, _: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        let failure = self.failures.lock().unwrap().pop();
        let answer = match failure {
            Some(error) => Err(error),
            None => Ok(ReadAnswer {
                status: 200,
                date_unix: START.seconds(),
                body: self.page(&path).into_bytes(),
                request_id: "req_1".into(),
            }),
        };
        self.asked.lock().unwrap().push(path);
        Box::pin(std::future::ready(answer))
    }
}

async fn tree(stripe: Arc<Listing>, limits: Limits) -> (Tree, Arc<dyn Store>) {
    let store: Arc<dyn Store> = MemStore::new().unwrap();
    let deps = Deps {
        store: Arc::clone(&store),
        clock: Arc::new(TestClock::at(START)),
        reducer: Arc::new(CoreReducer),
        stripe_read: stripe,
        stripe_write: None,
        settings: Arc::new(Settings::default()),
        limits,
        performers: Performers::new(),
    };
    (Tree::start(deps).await.unwrap(), store)
}

async fn run(tree: &Tree, mode: Mode) -> Report {
    let order = Order { mode, since: None };
    let mut run = tree.reconciler().start(order).await.unwrap();
    let ended = run.wait_for(|report| report.finished_at.is_some()).await;
    ended.unwrap().clone()
}

#[tokio::test]
async fn a_run_ends_at_its_bound_of_pages_and_the_next_one_goes_on_from_there() {
    for mode in [Mode::Check, Mode::Repair] {
        let stripe = Listing::of(350);
        let limits = Limits {
            reconcile_pages_asked_max: 1,
            ..Limits::default()
        };
        let (tree, store) = tree(Arc::clone(&stripe), limits).await;
        let (mut missing, mut runs) = (0, 0);
        loop {
            let report = run(&tree, mode).await;
            assert_eq!(report.status, RunStatus::Done, "{report:?}");
            missing += report.sum.missing;
            runs += 1;
            if !report.has_more {
                break;
            }
            assert!(report.sum.looked_at <= 100, "{report:?}");
            assert!(runs < 50, "it never ends");
        }
        assert_eq!(missing, 350);
        let asked = stripe.asked.lock().unwrap().clone();
        let distinct: BTreeSet<_> = asked.iter().collect();
        assert_eq!(
            distinct.len(),
            asked.len(),
            "a page was read twice: {asked:#?}"
        );
        let taken = if mode == Mode::Check { 0 } else { 350 };
        assert_eq!(store.stats().await.unwrap().inputs, taken);
        // The next one begins where this one looked, less an hour.
        run(&tree, mode).await;
        let newest = stripe.asked.lock().unwrap()[asked.len()].clone();
        let from = START.seconds()
            - if mode == Mode::Check {
                30 * 86_400
            } else {
                3_600
            };
        assert!(
            newest.ends_with(&format!("created%5Bgte%5D={from}")),
            "{newest}"
        );
    }
}

#[tokio::test]
async fn a_page_is_asked_for_again_before_a_run_gives_up() {
    let stripe = Listing::of(10);
    *stripe.failures.lock().unwrap() = vec![ReadError::Server(503), ReadError::Timeout];
    let (tree, _store) = tree(Arc::clone(&stripe), Limits::default()).await;
    let report = run(&tree, Mode::Repair).await;
    assert_eq!(
        (report.status, report.sum.missing),
        (RunStatus::Done, 10),
        "{report:?}"
    );
    *stripe.failures.lock().unwrap() = vec![ReadError::Auth(401)];
    let report = run(&tree, Mode::Repair).await;
    assert!(report.stripe_failed, "{report:?}");
    assert_eq!((report.status, report.sum.failed), (RunStatus::Failed, 1));
    assert!(
        tree.reconciler().report().await.unwrap().errors[0]
            .error
            .contains("401")
    );
}

#[tokio::test]
async fn a_run_whose_actor_dies_ends_and_another_one_can_begin() {
    let stripe = Arc::new(Listing {
        hangs: true,
        events: 0,
        asked: Mutex::default(),
        failures: Mutex::default(),
    });
    let (tree, _store) = tree(stripe, Limits::default()).await;
    let order = Order {
        mode: Mode::Check,
        since: None,
    };
    let mut first = tree.reconciler().start(order).await.unwrap();
    assert!(matches!(
        tree.reconciler().start(order).await,
        Err(NotStarted::Running)
    ));
    tree.kill(Core::Reconciler);
    let ended = first.wait_for(|report| report.finished_at.is_some());
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    let ended = ended
        .expect("the report ends with its run")
        .unwrap()
        .clone();
    assert_eq!(ended.status, RunStatus::Failed, "{ended:?}");
    for _ in 0..100 {
        match tree.reconciler().start(order).await {
            Ok(_) => return,
            Err(NotStarted::Away | NotStarted::Running) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("no run can begin any more");
}
