//! What each transport makes of a letter, and of what goes wrong.

use super::world::{Post, attempt, by_id, due, to};
use bursar::mail::transport::{ToFiles, ToLog, Transport};
use bursar_actors::ports::Outcome;
use bursar_sandbox::MailFault;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const REFUND: &[(&str, &str)] = &[("amount", "29.00 eur")];

#[tokio::test]
async fn every_way_out_carries_both_parts_and_the_same_message_id_each_time() {
    let post = Post::open().await;
    for (way, transport) in [("smtp", post.smtp()), ("mailgun", post.mailgun())] {
        let mailer = post.mailer(transport);
        let id = format!("e{way}");
        for _ in 0..2 {
            let outcome = attempt(&mailer, due(&id, to("ada@example.com", "refund", REFUND))).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
        let caught = post.caught();
        let mail = caught.last().unwrap();
        assert_eq!(
            (mail.via, mail.subject.as_str()),
            (way, "Refund of 29.00 EUR")
        );
        assert!(mail.text.contains("We refunded 29.00 EUR"), "{mail:#?}");
        assert!(mail.html.contains("We refunded 29.00 EUR"), "{mail:#?}");
        assert!(
            mail.message_id.starts_with(&format!("<{id}.")),
            "{}",
            mail.message_id
        );
        assert!(
            mail.message_id.ends_with("@example.com>"),
            "{}",
            mail.message_id
        );
        assert_eq!(
            by_id(&caught).get(&mail.message_id),
            Some(&2),
            "a repeat is recognised as one"
        );
    }
}

#[tokio::test]
async fn files_hold_the_message_for_their_owner_alone_and_the_log_takes_anything() {
    let post = Post::open().await;
    let folder = tempfile::tempdir().unwrap();
    let files = ToFiles::new(folder.path().join("mail"), post.sender());
    let ways: [Box<dyn Transport>; 2] = [Box::new(files), Box::new(ToLog)];
    for transport in ways {
        let mailer = post.mailer(transport);
        for id in ["e1", "e1", "e2"] {
            let outcome = attempt(&mailer, due(id, to("ada@example.com", "refund", REFUND))).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        }
    }
    let files = std::fs::read_dir(folder.path().join("mail")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = std::fs::read_to_string(file).unwrap();
        assert!(
            text.contains("Subject: Refund of 29.00 EUR") && text.contains("text/html"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn refusals_for_good_end_a_mail_and_everything_else_is_tried_again() {
    let post = Post::open().await;
    let control = post.sandbox.control();
    for (way, transport) in [("smtp", post.smtp()), ("mailgun", post.mailgun())] {
        let mailer = post.mailer(transport);
        for (fault, ends) in [
            (MailFault::Down, false),
            (MailFault::Later, false),
            (MailFault::Refused, true),
        ] {
            control.set_mail_fault(Some(fault), None, 0);
            let outcome = attempt(&mailer, due(way, to("ada@example.com", "refund", REFUND))).await;
            match &outcome {
                Outcome::Failed { note } => {
                    assert!(ends && !note.contains("ada"), "{fault:?}: {note}")
                }
                Outcome::Retry { counts, error, .. } => {
                    assert!(
                        !ends && *counts && !error.contains("ada"),
                        "{fault:?}: {error}"
                    );
                }
                other => panic!("{fault:?}: {other:?}"),
            }
        }
        control.set_mail_fault(None, None, 0);
        let outcome = attempt(&mailer, due(way, to("ada@example.com", "refund", REFUND))).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_thirty_first_mail_of_an_hour_to_one_address_waits_and_the_sixth_code_is_dropped() {
    let post = Post::open().await;
    let mailer = post.mailer(post.smtp());
    let code = [
        ("code", "123456"),
        ("minutes", "10"),
        ("link", "https://x.test/"),
    ];
    for n in 0..31 {
        let outcome = attempt(
            &mailer,
            due(&format!("r{n}"), to("ada@example.com", "refund", REFUND)),
        )
        .await;
        match outcome {
            Outcome::Done { .. } => assert!(n < 30),
            Outcome::Retry {
                after: Some(after),
                counts: false,
                ..
            } => {
                assert!(
                    n == 30 && after > Duration::from_secs(3_000),
                    "{n}: {after:?}"
                );
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    for n in 0..6 {
        let outcome = attempt(
            &mailer,
            due(
                &format!("v{n}"),
                to("ada@example.com", "verification", &code),
            ),
        )
        .await;
        assert_eq!(
            matches!(outcome, Outcome::Skipped { .. }),
            n == 5,
            "{outcome:?}"
        );
    }
    assert_eq!(post.caught().len(), 35);
}
