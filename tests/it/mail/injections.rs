//! Nothing that somebody can choose becomes a header, a recipient or a command (P27).

use super::world::{Post, attempt, due, to};
use bursar_actors::ports::Outcome;
use std::collections::BTreeSet;

/// What is put into addresses.
const ADDRESSES: [&str; 22] = [
    "ada@example.com\r\nRCPT TO:<evil@evil.test>",
    "ada@example.com\nBcc: evil@evil.test",
    "ada@example.com\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n",
    "ada@example.com>\r\nRCPT TO:<evil@evil.test",
    "ada@example.com> SIZE=1 <evil@evil.test",
    "ada@example.com, evil@evil.test",
    "ada@example.com;evil@evil.test",
    "\"ada\r\nBcc: evil@evil.test\"@example.com",
    "\"evil@evil.test\"@example.com",
    "\"ada bob\"@example.com",
    "ada@[127.0.0.1]",
    "<evil@evil.test>",
    "Ada <evil@evil.test>",
    "ada@example.com\u{0}",
    "ada@example.com\u{2028}Bcc: evil@evil.test",
    "ada\u{7f}@example.com",
    "ada%0d%0aBcc:evil@example.com\r",
    "@evil.test:ada@example.com",
    "ada@example.com ORCPT=rfc822;evil@evil.test",
    "ada@evil.test@example.com",
    "ada\t@example.com",
    "",
];

/// What is put into texts: names that end in a subject, and values that end in a body.
const TEXTS: [&str; 19] = [
    "x\r\nBcc: evil@evil.test",
    "x\nBcc: evil@evil.test",
    "x\rBcc: evil@evil.test",
    "x\r\n\r\n<script>alert(1)</script>",
    "x\r\n.\r\nMAIL FROM:<evil@evil.test>\r\nRCPT TO:<evil@evil.test>\r\nDATA\r\nhi\r\n.\r\n",
    "\r\n.\r\n",
    ".",
    "..\r\n.\r\nQUIT",
    "x\u{0}\u{0}Bcc: evil@evil.test",
    "x\u{2028}Bcc: evil@evil.test",
    "x\u{85}Bcc: evil@evil.test",
    "=?utf-8?q?=0D=0ABcc:_evil@evil.test?=",
    "=?utf-8?b?DQpCY2M6IGV2aWxAZXZpbC50ZXN0?=",
    "\u{202e}moc.elpmaxe",
    "x\r\nContent-Type: text/html\r\n\r\n<h1>x</h1>",
    "x\r\n--boundary--\r\n",
    "<img src=x onerror=alert(1)>",
    "{{ app_url }}{% include \"layout.html\" %}",
    "x\r\n Bcc: evil@evil.test",
];

/// Names of the headers before the parts.
fn headers(raw: &str) -> BTreeSet<String> {
    let head = raw.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head
        .split("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']));
    lines
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect()
}

#[tokio::test]
async fn nothing_somebody_chooses_becomes_a_header_a_recipient_or_a_command() {
    let post = Post::open().await;
    let mailer = post.mailer(post.smtp());
    let usual = BTreeSet::from(
        [
            "from",
            "to",
            "subject",
            "message-id",
            "date",
            "auto-submitted",
            "reply-to",
            "mime-version",
            "content-type",
        ]
        .map(str::to_owned),
    );
    let (mut tried, mut through) = (0, 0);
    for (n, address) in ADDRESSES.iter().enumerate() {
        let mail = to(address, "password_changed", &[]);
        let outcome = attempt(&mailer, due(&format!("a{n}"), mail)).await;
        tried += 1;
        through += usize::from(!matches!(outcome, Outcome::Failed { .. }));
    }
    assert_eq!(post.caught().len(), 0, "{:#?}", post.caught());
    let link = ("link", "https://billing.example.com/x");
    for (n, text) in TEXTS.iter().enumerate() {
        let own = ["inviter", "tenantName"];
        for name in own {
            let others = [
                ("inviter", "Ada"),
                ("tenantName", "Acme"),
                ("role", "member"),
                link,
            ];
            let params: Vec<_> = others
                .into_iter()
                .map(|(other, value)| (other, if other == name { *text } else { value }))
                .collect();
            let id = format!("t{n}{name}");
            let before = post.caught().len();
            let address = format!("ada{n}@example.com");
            let outcome = attempt(&mailer, due(&id, to(&address, "invitation", &params))).await;
            assert!(
                matches!(outcome, Outcome::Done { .. }),
                "{text:?}: {outcome:?}"
            );
            tried += 1;
            let caught = post.caught();
            let [mail] = &caught[before..] else {
                panic!("{text:?} became {:#?}", &caught[before..]);
            };
            let is_clean = mail.to == [address]
                && mail.from == "billing@example.com"
                && headers(&mail.raw) == usual
                && !mail.subject.contains(['\r', '\n'])
                && !mail.html.contains("<script")
                && !mail.html.contains("<img")
                && mail
                    .text
                    .contains("Accept the invitation: https://billing.example.com/x");
            assert!(is_clean, "{text:?}: {mail:#?}");
            through += usize::from(!is_clean);
        }
    }
    println!("mail injections={through}/{tried}");
    assert_eq!((through, tried), (0, 60));
}
