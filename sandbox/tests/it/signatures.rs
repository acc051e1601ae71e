//! The signing of webhooks against the vectors that Stripe's own packages agreed with.

use bursar_sandbox::sign;
use serde_json::Value;

#[test]
fn signatures_equal_the_vectors_checked_with_stripes_packages() {
    let file: Value = serde_json::from_str(include_str!(
        "../../../tests/corpus/stripe/webhook-signature-vectors.json"
    ))
    .unwrap();
    let vectors = file["vectors"].as_array().expect("vectors");
    let mut checked = 0;
    for vector in vectors {
        let secret = vector["secret"].as_str().unwrap();
        let at = vector["timestamp"].as_i64().unwrap();
        let body = match vector["payload_hex"].as_str() {
            Some(text) => hex::decode(text).unwrap(),
            None => vector["payload_utf8"].as_str().unwrap().as_bytes().to_vec(),
        };
        let expected = vector["v1"].as_str().unwrap();
        assert_eq!(sign::v1(secret, at, &body), expected, "{vector}");
        checked += 1;
    }
    assert_eq!(checked, 13);
}

#[test]
fn a_rotation_signs_with_every_secret() {
    let secrets = ["whsec_a".to_owned(), "whsec_b".to_owned()];
    let header = sign::header(&secrets, 5, b"{}");
    assert_eq!(
        header,
        format!(
            "t=5,v1={},v1={}",
            sign::v1("whsec_a", 5, b"{}"),
            sign::v1("whsec_b", 5, b"{}")
        )
    );
}
