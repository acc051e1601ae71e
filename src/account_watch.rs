//! Asks Stripe whose key this is: a store belongs to one account, and another's books must not be mixed into it.
//!
//! The key tells its mode before anybody is asked (`App::start`); its account only Stripe can tell, so the service
//! starts without an answer and ends once there is a wrong one.
//!
//! Invariants: the first account that is named is the store's for good; nothing is asked again once one was named.
//! Not here: what a wrong account is answered with (`serve`: exit code 65).
//! Failure: without an answer it is asked again after a while; a key that may not name its account is said once.

use bursar_actors::ports::{ReadAnswer, ReadError, StripeRead};
use bursar_domain::ids::Scope;
use bursar_store::api::Store;
use bursar_store::bind_account;
use bursar_store::error::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where a key's own account is read.
const ACCOUNT_PATH: &str = "/v1/account";
/// After a look that found no answer.
const AGAIN: Duration = Duration::from_secs(60);

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// It is the store's account, or is from now on.
    Own,
    /// It is another's; in words.
    Another(String),
    /// The key may not name it, or this Stripe has none: there is nothing to compare.
    Unnamed,
    /// No answer; why.
    Unanswered(String),
}

/// Looks until the account is known; calls `refuse` if it is another's.
pub async fn run(
    stripe: Arc<dyn StripeRead>,
    store: Arc<dyn Store>,
    refuse: impl FnOnce(String),
    mut stop: watch::Receiver<bool>,
) {
    let looking = async {
        loop {
            match look(stripe.as_ref(), store.as_ref()).await {
                Look::Own => return None,
                Look::Another(why) => return Some(why),
                Look::Unnamed => {
                    tracing::info!(
                        "the key does not name its account: the store cannot tell it from another's"
                    );
                    return None;
                }
                Look::Unanswered(why) => tracing::debug!(why, "whose key it is cannot be asked"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let another = tokio::select! {
        biased;
        // Stopped, or dropped without a word: either way the process ends.
        _ = stop.wait_for(|stop| *stop) => return,
        another = looking => another,
    };
    if let Some(why) = another {
        refuse(why);
    }
}

/// One look.
pub async fn look(stripe: &dyn StripeRead, store: &dyn Store) -> Look {
    let account = match stripe.get(Scope::PLATFORM, ACCOUNT_PATH.to_owned()).await {
        Ok(answer) => named(&answer),
        Err(ReadError::Auth(403)) => None,
        Err(error) => return Look::Unanswered(error.to_string()),
    };
    let Some(account) = account else {
        return Look::Unnamed;
    };
    match bind_account(store, &account).await {
        Ok(()) => Look::Own,
        Err(StoreError::Incompatible(why)) => Look::Another(why),
        Err(error) => Look::Unanswered(error.to_string()),
    }
}

/// The account an answer names.
fn named(answer: &ReadAnswer) -> Option<String> {
    let account: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let id = account["id"].as_str()?;
    let is_id = id.starts_with("acct_") && id.len() <= 64;
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_actors::ports::PortFuture;
    use bursar_store::MemStore;
    use serde_json::json;

    /// A Stripe that answers this.
    struct Said(Result<&'static str, ReadError>);
    impl StripeRead for Said {
        fn get(&self, _: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
            assert_eq!(path, ACCOUNT_PATH);
            let answer = self.0.clone().map(|id| ReadAnswer {
                status: 200,
                date_unix: 0,
                body: json!({"object": "account", "id": id})
                    .to_string()
                    .into_bytes(),
                request_id: String::new(),
            });
            Box::pin(std::future::ready(answer))
        }
    }

    #[tokio::test]
    async fn the_first_account_is_the_stores_and_another_is_refused() {
        let store = MemStore::new().unwrap();
        let look_at = async |said| look(&Said(said), store.as_ref()).await;
        // Nothing is bound by what is no answer.
        assert!(matches!(
            look_at(Err(ReadError::Timeout)).await,
            Look::Unanswered(_)
        ));
        assert_eq!(look_at(Err(ReadError::Auth(403))).await, Look::Unnamed);
        assert_eq!(look_at(Ok("cus_1")).await, Look::Unnamed);
        assert_eq!(look_at(Ok("acct_1")).await, Look::Own);
        assert_eq!(look_at(Ok("acct_1")).await, Look::Own);
        let Look::Another(why) = look_at(Ok("acct_2")).await else {
            panic!("it was taken")
        };
        assert!(why.contains("acct_1") && why.contains("acct_2"), "{why}");
        assert_eq!(
            look_at(Ok("acct_1")).await,
            Look::Own,
            "and stays the first's"
        );
    }
}
