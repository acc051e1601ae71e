//! Guessing: how far it gets, whom it keeps out, and what a restart forgets of it.

use super::{PASSWORD, Town};
use bursar_config::Signup;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const LOGIN: &str = "/api/v1/login";

fn guess(n: usize) -> Value {
    json!({"email": "ada@example.com", "password": format!("wrong guess {n}")})
}

fn right() -> Value {
    json!({"email": "ada@example.com", "password": PASSWORD})
}

#[tokio::test]
async fn two_hundred_wrong_passwords_are_five_and_the_right_owner_gets_in() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    let before = town.edge.identity.passwords.done();
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    for n in 0..200 {
        let reply = town.post_from("192.0.2.1", LOGIN, guess(n)).await;
        *statuses.entry(reply.status).or_default() += 1;
        if reply.status == 429 {
            assert!(reply.header("retry-after").is_some(), "{reply:?}");
        }
    }
    assert_eq!(statuses, BTreeMap::from([(401, 5), (429, 195)]));
    assert_eq!(
        town.edge.identity.passwords.done() - before,
        5,
        "nothing else was hashed"
    );
    let blocked = town.post_from("192.0.2.1", LOGIN, right()).await;
    blocked.is_problem(429);
    let owner = town.post_from("198.51.100.7", LOGIN, right()).await;
    assert_eq!(owner.status, 200, "{owner:?}");
    town.clock.step(60_000);
    let later = town.post_from("192.0.2.1", LOGIN, right()).await;
    assert_eq!(
        later.status, 200,
        "nobody is locked out for ever: {later:?}"
    );
}

#[tokio::test]
async fn guessers_all_over_the_world_do_not_keep_out_who_was_here_before() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    let home = "198.51.100.7";
    assert_eq!(town.post_from(home, LOGIN, right()).await.status, 200);
    let mut looked_at = 0;
    for n in 0..40 {
        let from = format!("192.0.2.{n}");
        for guesses in 0..2 {
            let reply = town.post_from(&from, LOGIN, guess(guesses)).await;
            looked_at += u32::from(reply.status == 401);
        }
    }
    assert_eq!(
        looked_at, 29,
        "one log-in and 29 guesses of thirty in ten minutes"
    );
    let owner = town.post_from(home, LOGIN, right()).await;
    assert_eq!(owner.status, 200, "{owner:?}");
    town.post_from("203.0.113.9", LOGIN, right())
        .await
        .is_problem(429);
    // Who reads the account's mail is let in from anywhere.
    let forgot = json!({"email": "ada@example.com"});
    town.post_from("203.0.113.9", "/api/v1/password/forgot", forgot)
        .await;
    let mail = town.mails("ada@example.com", 2).await.remove(1);
    let new = json!({"token": super::token_of(&mail), "newPassword": "a new horse battery"});
    let reset = town
        .post_from("203.0.113.9", "/api/v1/password/reset", new)
        .await;
    assert_eq!(reset.status, 200, "{reset:?}");
    let new = json!({"email": "ada@example.com", "password": "a new horse battery"});
    let reply = town.post_from("203.0.113.9", LOGIN, new).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn an_address_has_twenty_tries_a_minute_whatever_it_tries() {
    let town = Town::start().await;
    let mut looked_at = 0;
    for n in 0..30 {
        let body = json!({"email": format!("p{n}@example.com"), "password": "some password"});
        let reply = town.post_from("2001:db8::1", LOGIN, body).await;
        looked_at += u32::from(reply.status == 401);
    }
    assert_eq!(looked_at, 20);
    let body = json!({"email": "q@example.com"});
    for path in ["/api/v1/password/forgot", "/api/v1/verification/resend"] {
        town.post_from("2001:db8::2", path, body.clone())
            .await
            .is_problem(429);
        let reply = town.post_from("2001:db8:0:1::1", path, body.clone()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    town.clock.step(60_000);
    let reply = town.post_from("2001:db8::1", LOGIN, right()).await;
    reply.is_problem(401);
}

#[tokio::test]
async fn a_restart_forgets_no_guess() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    for n in 0..5 {
        town.post_from("192.0.2.1", LOGIN, guess(n))
            .await
            .is_problem(401);
    }
    let store = Arc::clone(&town.store);
    drop(town);
    let town = Town::over(store, Signup::Open).await;
    town.post_from("192.0.2.1", LOGIN, right())
        .await
        .is_problem(429);
    let owner = town.post_from("198.51.100.7", LOGIN, right()).await;
    assert_eq!(owner.status, 200, "{owner:?}");
}

#[tokio::test]
async fn guesses_made_at_once_are_counted_before_they_are_looked_at() {
    let town = Arc::new(Town::start().await);
    town.settled("ada@example.com").await;
    let before = town.edge.identity.passwords.done();
    let mut guesses = Vec::new();
    for n in 0..30 {
        let town = Arc::clone(&town);
        guesses.push(tokio::spawn(async move {
            town.post_from("192.0.2.1", LOGIN, guess(n)).await.status
        }));
    }
    let mut looked_at = 0;
    for each in guesses {
        looked_at += u32::from(each.await.unwrap() == 401);
    }
    assert!((1..=5).contains(&looked_at), "{looked_at}");
    let hashed = town.edge.identity.passwords.done() - before;
    assert_eq!(hashed, u64::from(looked_at));
}
