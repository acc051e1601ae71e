//! The sandbox's faults, each as the end it should have.

use super::command;
use super::world::{World, tenant};
use bursar::stripe::requests::customers::{NewCustomer, create};
use bursar_actors::ports::{CallEnd, StripeWrite};
use bursar_sandbox::{Fault, FaultKind};
use std::time::Duration;

#[tokio::test]
async fn the_sandboxs_faults_end_as_what_they_are() {
    let world = World::start().await;
    let call = || {
        let order = NewCustomer {
            tenant: tenant(),
            name: None,
            email: None,
        };
        create(&order, &command("cmd_once"))
    };
    let mut ends = Vec::new();
    for kind in [
        FaultKind::Unauthorized,
        FaultKind::Conflict,
        FaultKind::RateLimited,
        FaultKind::ServerError,
        FaultKind::Unavailable,
        FaultKind::ResetBefore,
        FaultKind::Redirect,
        FaultKind::Huge,
        FaultKind::ResetAfterCommit,
    ] {
        world
            .control
            .add_fault(Fault::once(kind, "POST /v1/customers"));
        let end = world.end(call(), "one-key").await;
        let name = format!("{end:?}");
        ends.push((kind, name.split([' ', '(']).next().unwrap().to_owned()));
    }
    let expected = [
        (FaultKind::Unauthorized, "KeyRefused"),
        (FaultKind::Conflict, "InProgress"),
        (FaultKind::RateLimited, "RateLimited"),
        (FaultKind::ServerError, "Unknown"),
        (FaultKind::Unavailable, "Unknown"),
        (FaultKind::ResetBefore, "Unknown"),
        (FaultKind::Redirect, "Unknown"),
        (FaultKind::Huge, "Unknown"),
        (FaultKind::ResetAfterCommit, "Unknown"),
    ];
    assert_eq!(ends, expected.map(|(kind, end)| (kind, end.to_owned())));
    let CallEnd::Answer(known) = world.end(call(), "one-key").await else {
        panic!("still not known");
    };
    assert!(known.is_replayed && known.status == 200);
    let other = create(
        &NewCustomer {
            tenant: tenant(),
            name: Some("x".to_owned()),
            email: None,
        },
        &command("cmd_once"),
    );
    let reused = world.end(other, "one-key").await;
    assert!(matches!(reused, CallEnd::KeyReused { .. }), "{reused:?}");
    assert_eq!(
        world.control.side_effects("cmd_once").values().sum::<u64>(),
        1
    );

    world.control.add_fault(Fault::once(
        FaultKind::ServerErrorSaved,
        "POST /v1/customers",
    ));
    let saved = [
        world.end(call(), "k-2").await,
        world.end(call(), "k-2").await,
    ];
    let is_replay = |end: &CallEnd| {
        matches!(
            end,
            CallEnd::Unknown {
                is_replayed: true,
                ..
            }
        )
    };
    assert_eq!(saved.each_ref().map(is_replay), [false, true], "{saved:?}");
    world
        .control
        .add_fault(Fault::once(FaultKind::Garbage, "POST /v1/customers"));
    let garbage = world.end(call(), "k-3").await;
    assert!(matches!(garbage, CallEnd::Unknown { .. }), "{garbage:?}");
    world.control.add_fault(Fault::once(
        FaultKind::HangAfterCommit,
        "POST /v1/customers",
    ));
    let within = Duration::from_millis(300);
    let hung = world.client.send(call(), "k-4".to_owned(), within).await;
    assert!(matches!(hung, CallEnd::Unknown { .. }), "{hung:?}");
    let CallEnd::Answer(known) = world.end(call(), "k-4").await else {
        panic!("the key does not answer");
    };
    assert!(known.is_replayed);
}
