//! Parameters as they travel: in a body, or in the query of a `DELETE`.
//!
//! Invariants: the order is kept, because Stripe compares what is sent again under one idempotency key; a name's
//! brackets are percent-encoded like everything else outside letters, digits and `*-._`, a space is `+`.
//! Source: Stripe API reference, "Request body"; WHATWG URL, `application/x-www-form-urlencoded`, which serves as query.

/// The pairs, encoded. No pairs give an empty text.
pub fn encode(params: &[(String, String)]) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in params {
        out.append_pair(name, value);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_form_is_encoded() {
        let pairs = [
            ("metadata[a]", "1 + 1 = 2 & more"),
            (
                "success_url",
                "https://a.example/?s={CHECKOUT_SESSION_ID}#x",
            ),
            ("name", "Zoë 😀\u{0}\n%41"),
            ("empty", ""),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let encoded = encode(&pairs);
        assert_eq!(
            encoded,
            "metadata%5Ba%5D=1+%2B+1+%3D+2+%26+more\
             &success_url=https%3A%2F%2Fa.example%2F%3Fs%3D%7BCHECKOUT_SESSION_ID%7D%23x\
             &name=Zo%C3%AB+%F0%9F%98%80%00%0A%2541&empty="
        );
        let read: Vec<(String, String)> = form_urlencoded::parse(encoded.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(read, pairs);
        assert_eq!(encode(&[]), "");
    }
}
