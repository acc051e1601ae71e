//! GETs by our read client: what is an answer, and which failures are told apart.

use crate::{KEY, Mock, VERSION};
use bursar::stripe::read::ReadClient;
use bursar_actors::ports::{ReadAnswer, ReadError, StripeRead};
use bursar_domain::ids::{AccountId, Scope};
use serde_json::Value;

fn client(mock: &Mock, key: &str) -> ReadClient {
    ReadClient::new(&mock.base, &Mock::key(key), VERSION).unwrap()
}

async fn get(client: &ReadClient, path: &str) -> Result<ReadAnswer, ReadError> {
    client.get(Scope::PLATFORM, path.to_owned()).await
}

/// Runs them; how many there were.
pub(crate) async fn every_case(mock: &Mock) -> u32 {
    let ours = client(mock, KEY);
    let form = [
        ("amount", "2000"),
        ("currency", "usd"),
        ("source", "tok_visa"),
    ];
    let charge = mock.order("/v1/charges", &form).await;
    let id = charge["id"].as_str().unwrap();

    // An object is answered whole, with the server's time.
    let answer = get(&ours, &format!("/v1/charges/{id}?expand%5B%5D=refunds"))
        .await
        .unwrap();
    let read: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (answer.status, &read["id"], &read["amount"]),
        (200, &charge["id"], &2000.into())
    );
    let now = jiff::Timestamp::now().as_second();
    assert!(answer.date_unix.abs_diff(now) < 300, "{}", answer.date_unix);

    // A list in the shape of ours.
    let list = get(&ours, "/v1/charges?limit=1").await.unwrap();
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(
        (&list["object"], list["data"].as_array().map(Vec::len)),
        (&"list".into(), Some(1))
    );

    // What does not exist is an answer, too: an object, and a resource the mock has never heard of.
    for path in ["/v1/charges/ch_none", "/v1/payment_intents/pi_none"] {
        assert_eq!(get(&ours, path).await.unwrap().status, 404, "{path}");
    }

    // A key of no use, and an account that is not ours.
    let refused = get(&client(mock, "rk_test_unknown_to_it"), "/v1/charges").await;
    assert_eq!(refused, Err(ReadError::Auth(401)));
    let foreign = Scope(Some(AccountId::parse("acct_foreign").unwrap()));
    let refused = ours.get(foreign, "/v1/charges".to_owned()).await;
    assert_eq!(refused, Err(ReadError::Auth(403)));

    // Nobody there.
    let nowhere = ReadClient::new("http://127.0.0.1:9", &Mock::key(KEY), VERSION).unwrap();
    let nobody = get(&nowhere, "/v1/charges").await;
    assert!(matches!(nobody, Err(ReadError::Network(_))), "{nobody:?}");
    7
}
