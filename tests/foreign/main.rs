//! Our callers of Stripe's API against a double nobody here wrote: npm's `stripe-stateful-mock` 0.0.16.
//!
//! Method: `BURSAR_FOREIGN_STRIPE` names its address; `tests/outside/foreign_mocks/run.sh` installs it, starts it
//! and runs this. Without the variable nothing is asked, and that is said. What the mock shall do is ordered by a
//! plain HTTP client; what is judged is what our own client makes of its answers.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod posts;
mod reads;

use secrecy::SecretString;

/// A key the mock takes.
const KEY: &str = "sk_test_foreign_0123456789";
/// The version of our calls.
const VERSION: &str = "2025-04-30.basil";

/// Where the mock is.
struct Mock {
    base: String,
    http: reqwest::Client,
}

impl Mock {
    /// Orders something, as any program would; the JSON of a 2xx answer.
    async fn order(&self, path: &str, form: &[(&str, &str)]) -> serde_json::Value {
        let url = format!("{}{path}", self.base);
        let answer = self.http.post(url).bearer_auth(KEY).form(form).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "POST {path}");
        answer.json().await.unwrap()
    }

    /// What is there, as any program sees it.
    async fn look(&self, path: &str) -> serde_json::Value {
        let url = format!("{}{path}", self.base);
        let answer = self.http.get(url).bearer_auth(KEY).send().await.unwrap();
        answer.json().await.unwrap()
    }

    fn key(text: &str) -> SecretString {
        text.to_owned().into()
    }
}

#[tokio::test]
async fn every_case() {
    let Ok(base) = std::env::var("BURSAR_FOREIGN_STRIPE") else {
        println!(
            "skipped: BURSAR_FOREIGN_STRIPE names no mock (tests/outside/foreign_mocks/run.sh)"
        );
        return;
    };
    let http = reqwest::Client::new();
    let mock = Mock { base, http };
    let reads = reads::every_case(&mock).await;
    let posts = posts::every_case(&mock).await;
    println!("ran stripe-stateful-mock 0.0.16: reads={reads} posts={posts} failed=0");
}
