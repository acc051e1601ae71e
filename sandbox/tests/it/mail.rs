//! Mail that is caught: by SMTP and by the double of Mailgun, shown safely, and told as JSON.

use crate::client::{World, world};
use bursar_sandbox::MailFault;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const HTML: &[(&str, &str)] = &[("accept", "text/html")];
const KEY: &[(&str, &str)] = &[("authorization", "Basic YXBpOmtleQ==")];

/// Says lines; answers the first digits of each answer.
async fn talk(w: &World, lines: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(w.sandbox.mail_addr()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut answers = Vec::new();
    for line in std::iter::once(&"").chain(lines) {
        if !line.is_empty() {
            let whole = format!("{line}\r\n");
            stream.write_all(whole.as_bytes()).await.unwrap();
        }
        let mut answer = String::new();
        while stream.read_line(&mut answer).await.unwrap() > 0 {
            let last = answer.lines().last().unwrap_or_default();
            if last.get(3..4) != Some("-") {
                break;
            }
        }
        let last = answer.lines().last().unwrap_or_default();
        answers.push(last.get(..3).unwrap_or_default().to_owned());
    }
    answers
}

#[tokio::test]
async fn what_a_mail_server_is_given_is_caught_and_the_rules_of_smtp_hold() {
    let w = world().await;
    let said = talk(
        &w,
        &[
            "EHLO me",
            "RCPT TO:<a@x.test>",
            "MAIL FROM:<me@x.test>",
            "DATA",
            "RCPT TO:<ada@x.test>",
            "RCPT TO:<bob@x.test>",
            "DATA",
            "Subject: hello\r\nMessage-ID: <1@x>\r\n\r\n..dots\r\n.",
            "VRFY ada",
            "QUIT",
        ],
    )
    .await;
    let wanted = [
        "220", "250", "501", "250", "503", "250", "250", "354", "250", "502", "221",
    ];
    assert_eq!(said, wanted);
    let mails = w.control.mails();
    assert_eq!(mails.len(), 1, "{mails:#?}");
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.join(" ")),
        ("me@x.test", "ada@x.test bob@x.test".into())
    );
    assert_eq!(
        (mails[0].subject.as_str(), mails[0].text.trim()),
        ("hello", ".dots")
    );
    let latest = w.get("/mail/latest?to=bob@x.test").await;
    assert_eq!(latest["message_id"], "<1@x>");
    let none = w
        .send("GET", "/mail/latest?to=eve@x.test", &[], "")
        .await
        .unwrap();
    assert_eq!(none.status, 404);
    w.control
        .set_mail_fault(Some(MailFault::Refused), Some(1), 0);
    let from = "MAIL FROM:<me@x.test>";
    assert_eq!(
        talk(
            &w,
            &["HELO me", from, "RCPT TO:<a@x.test>", "RCPT TO:<a@x.test>"]
        )
        .await[3..],
        ["550", "250"]
    );
    w.control.set_mail_fault(Some(MailFault::Down), None, 0);
    assert_eq!(talk(&w, &[]).await, [""]);
}

#[tokio::test]
async fn html_of_a_mail_stands_in_a_frame_that_may_do_nothing() {
    let w = world().await;
    let form = "from=me@x.test&to=ada@x.test&subject=%3Cb%3Ehi&text=x&html=%3Cscript%3Ealert(1)%3C/script%3E";
    let refused = w
        .send("POST", "/v3/x.test/messages", &[], form)
        .await
        .unwrap();
    assert_eq!(refused.status, 401);
    let taken = w
        .send("POST", "/v3/x.test/messages", KEY, form)
        .await
        .unwrap();
    assert_eq!(taken.status, 200, "{taken:?}");
    let lacks = w
        .send("POST", "/v3/x.test/messages", KEY, "from=a&to=b")
        .await
        .unwrap();
    assert_eq!(lacks.status, 400);
    for (path, policy) in [
        ("/mail", "frame-ancestors 'none'"),
        ("/mail/1", "frame-src 'self'"),
        ("/mail/1/html", "sandbox; default-src 'none'"),
    ] {
        let page = w.send("GET", path, HTML, "").await.unwrap();
        assert_eq!(page.status, 200, "{path}");
        let found = page.header("content-security-policy");
        assert!(
            found.contains(policy) && found.contains("default-src 'none'"),
            "{path}: {found}"
        );
        let text = String::from_utf8_lossy(&page.bytes).into_owned();
        assert_eq!(
            text.contains("<script"),
            path == "/mail/1/html",
            "{path}: {text}"
        );
        assert!(!text.contains("<b>hi"), "{path}: {text}");
    }
    assert_eq!(
        w.send("GET", "/mail/9", HTML, "").await.unwrap().status,
        404
    );
    let fault = w
        .send("POST", "/control/mail/fault", &[], "kind=later&count=1")
        .await
        .unwrap();
    assert_eq!(fault.status, 200);
    let later = w
        .send("POST", "/v3/x.test/messages", KEY, form)
        .await
        .unwrap();
    assert_eq!(later.status, 429);
    let odd = w
        .send("POST", "/control/mail/fault", &[], "kind=odd")
        .await
        .unwrap();
    assert_eq!(odd.status, 400);
    assert_eq!(
        w.get("/control/mail").await["data"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}
