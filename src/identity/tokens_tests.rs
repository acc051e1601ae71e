//! One pinned test per trick with access tokens (rows BA1 to BA6 of the catalogue of bad inputs).

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
const BASE: &str = "https://billing.example.com/";
const NOW: Timestamp = Timestamp::from_seconds(1_747_044_000);

fn keys() -> Keys {
    Keys::new(&SECRET.to_owned().into(), BASE)
}

fn user() -> UserId {
    UserId::parse("usr_0196c5a0b1c27d3e8f00112233445566").unwrap()
}

fn header() -> Value {
    json!({"alg": "HS256", "typ": "at+jwt", "kid": keys().kid})
}

fn claims() -> Value {
    let now = NOW.seconds();
    json!({
        "iss": "https://billing.example.com", "aud": "https://billing.example.com",
        "sub": user().as_str(), "jti": "1", "iat": now, "nbf": now, "exp": now + 600, "sid": "s",
    })
}

/// Signs anything, as no library would.
fn signed(header: &Value, claims: &Value, key: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims.to_string())
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(input.as_bytes());
    format!("{input}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn with(value: &Value, name: &str, new: Value) -> Value {
    let mut changed = value.clone();
    changed[name] = new;
    changed
}

fn without(value: &Value, name: &str) -> Value {
    let mut changed = value.clone();
    changed.as_object_mut().unwrap().remove(name);
    changed
}

fn is_good(header: &Value, claims: &Value) -> bool {
    keys()
        .read(&signed(header, claims, SECRET.as_bytes()), NOW)
        .is_some()
}

#[test]
fn what_we_issue_is_good_for_ten_minutes_and_the_leeway() {
    let token = keys().issue(&user(), "s", NOW).unwrap();
    let at = |seconds: i64| keys().read(token.expose_secret(), NOW.plus_ms(seconds * 1_000));
    assert_eq!(at(0).unwrap().user, user());
    assert_eq!(at(0).unwrap().session, "s");
    assert!(at(629).is_some() && at(630).is_none());
    assert!(at(-30).is_some() && at(-31).is_none());
    assert!(
        is_good(&header(), &claims()),
        "the forger of these tests can make a good one"
    );
    assert!(is_token_shaped(token.expose_secret()));
}

#[test]
fn ba1_no_algorithm_is_none() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(&header(), "alg", alg.into());
        assert!(!is_good(&header, &claims()), "{alg}");
        let good = signed(&header, &claims(), SECRET.as_bytes());
        let unsigned = &good[..=good.rfind('.').unwrap()];
        assert!(keys().read(unsigned, NOW).is_none(), "{alg}");
    }
    assert!(!is_good(&without(&header(), "alg"), &claims()));
}

#[test]
fn ba2_no_other_algorithm_and_no_other_key_is_taken() {
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        assert!(
            !is_good(&with(&header(), "alg", alg.into()), &claims()),
            "{alg}"
        );
    }
    for key in [
        "",
        "https://billing.example.com",
        "a-secret-of-at-least-thirty-two-byteS",
    ] {
        assert!(
            keys()
                .read(&signed(&header(), &claims(), key.as_bytes()), NOW)
                .is_none()
        );
    }
}

#[test]
fn ba3_a_time_is_a_whole_number_of_seconds() {
    let exp = NOW.seconds() + 600;
    let bad: [Value; 9] = [
        exp.to_string().into(),
        json!(1_747_044_600.5),
        json!(1.7470446e9),
        Value::Null,
        (exp * 1_000).into(),
        json!(9_223_372_036_854_775_808_u64),
        i64::MIN.into(),
        (exp + 1).into(),
        (NOW.seconds() - 31).into(),
    ];
    for value in bad {
        assert!(
            !is_good(&header(), &with(&claims(), "exp", value.clone())),
            "exp {value}"
        );
    }
    for name in ["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "sid"] {
        assert!(!is_good(&header(), &without(&claims(), name)), "{name}");
    }
}

#[test]
fn ba4_a_token_of_the_future_is_not_good_yet() {
    let hour = NOW.seconds() + 3_600;
    assert!(!is_good(&header(), &with(&claims(), "nbf", hour.into())));
    let mut later = with(&claims(), "iat", hour.into());
    later["exp"] = (hour + 600).into();
    assert!(!is_good(&header(), &later));
    assert!(!is_good(&header(), &with(&claims(), "iat", hour.into())));
}

#[test]
fn ba5_issuer_audience_and_type_are_ours() {
    for name in ["iss", "aud"] {
        for value in [
            json!("https://evil.example"),
            json!(""),
            json!(["https://evil.example"]),
            json!(5),
        ] {
            assert!(
                !is_good(&header(), &with(&claims(), name, value.clone())),
                "{name} {value}"
            );
        }
    }
    for typ in [json!("JWT"), json!("rt+jwt"), json!("AT+JWT "), Value::Null] {
        assert!(
            !is_good(&with(&header(), "typ", typ.clone()), &claims()),
            "{typ}"
        );
    }
    assert!(!is_good(&without(&header(), "typ"), &claims()));
    for sub in [
        "",
        "usr_",
        "operator",
        "usr_0196C5A0B1C27D3E8F00112233445566",
    ] {
        assert!(
            !is_good(&header(), &with(&claims(), "sub", sub.into())),
            "{sub}"
        );
    }
    assert!(
        keys().read("bursar_rt_a_b_c", NOW).is_none(),
        "a refresh token is none"
    );
}

#[test]
fn ba6_the_header_picks_no_key_but_ours() {
    for kid in [
        "../../x",
        "' OR 1=1 --",
        "",
        &"k".repeat(4_096),
        "/dev/null",
    ] {
        assert!(
            !is_good(&with(&header(), "kid", kid.into()), &claims()),
            "{kid}"
        );
    }
    assert!(!is_good(&without(&header(), "kid"), &claims()));
    let theirs = b"the-key-the-header-brings-with-it!!!";
    for name in ["jku", "x5u", "jwk"] {
        let value = match name {
            "jwk" => json!({"kty": "oct", "k": BASE64.encode(theirs)}),
            _ => json!("https://evil.example/keys.json"),
        };
        let header = with(&header(), name, value);
        assert!(
            keys()
                .read(&signed(&header, &claims(), theirs), NOW)
                .is_none(),
            "{name}"
        );
    }
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        long.as_str(),
        "\u{fc}.\u{fc}.\u{fc}",
    ] {
        assert!(keys().read(text, NOW).is_none());
    }
}

#[test]
fn a_rotated_secret_keeps_what_it_signed_good_until_it_is_taken_out() {
    let new: SecretString = "another-secret-of-thirty-two-bytes-or-more"
        .to_owned()
        .into();
    let old: SecretString = SECRET.to_owned().into();
    let token = keys().issue(&user(), "s", NOW).unwrap();
    let token = token.expose_secret();
    let rotated = Keys::new(&new, BASE).after(Some(&old));
    assert_eq!(rotated.read(token, NOW).unwrap().user, user());
    assert!(Keys::new(&new, BASE).read(token, NOW).is_none());
    // New ones are signed with the new secret alone.
    let fresh = rotated.issue(&user(), "s", NOW).unwrap();
    let fresh = fresh.expose_secret();
    assert!(Keys::new(&new, BASE).read(fresh, NOW).is_some());
    assert!(keys().read(fresh, NOW).is_none());
    // The old secret under the new one's name is no way in.
    let foreign = with(&header(), "kid", json!(rotated.kid));
    let forged = signed(&foreign, &claims(), SECRET.as_bytes());
    assert!(rotated.read(&forged, NOW).is_none());
}
