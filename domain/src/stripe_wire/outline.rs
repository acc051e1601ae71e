//! Where the members of an event's outside lie in its text, found while the text is checked.
//!
//! The check has looked at every byte anyway; a second look only to find `data.object` again would cost as much as
//! reading the object does.
//!
//! Invariants: a member is the text serde_json would give for it, without white space around it; what could not be
//! placed for certain is not answered at all, and whoever asks then reads the text itself.
//! Not here: whether the text is JSON (`check`), what the members mean (`read_checked`).

/// A key of the outside or of its `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark<'a> {
    key: &'a str,
    /// Where its opening quote stands.
    from: usize,
    in_data: bool,
}

/// Keys seen on the way through a text, in their order.
#[derive(Debug, Default)]
pub(super) struct Marks<'a> {
    marks: Vec<Mark<'a>>,
    /// A key is written with escapes, so that nobody knows where it stands.
    is_hidden: bool,
}

/// A text that was checked, and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// All of it.
    pub text: &'a str,
    /// `None`: not to be placed.
    marks: Option<Vec<Mark<'a>>>,
}

impl<'a> Marks<'a> {
    /// A key that was read from the text as it stands there.
    pub(super) fn note(&mut self, text: &'a str, key: &'a str, in_data: bool) {
        let quote = key.as_ptr().addr().wrapping_sub(text.as_ptr().addr() + 1);
        if text.as_bytes().get(quote) == Some(&b'"') {
            self.marks.push(Mark {
                key,
                from: quote,
                in_data,
            });
        } else {
            self.is_hidden = true;
        }
    }

    /// A key that was read from escapes.
    pub(super) const fn hide(&mut self) {
        self.is_hidden = true;
    }

    /// What was found in a text that is JSON.
    pub(super) fn of(self, text: &'a str) -> Checked<'a> {
        Checked {
            text,
            marks: (!self.is_hidden).then_some(self.marks),
        }
    }
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

impl<'a> Checked<'a> {
    /// The text of a member; `None` if there is none of that name. The outer `None`: not to be placed.
    pub(super) fn member(&self, in_data: bool, key: &str) -> Option<Option<&'a str>> {
        let marks = self.marks.as_deref()?;
        let is_it = |mark: &Mark<'_>| mark.in_data == in_data && mark.key == key;
        match marks.iter().position(is_it) {
            None => Some(None),
            Some(at) => self.value(&marks[at], marks.get(at + 1)).map(Some),
        }
    }

    /// From behind the key to before the next one, or to where the objects around it end.
    fn value(&self, mark: &Mark<'a>, next: Option<&Mark<'a>>) -> Option<&'a str> {
        let from = mark.from + 1 + mark.key.len() + 1;
        let until = next.map_or(self.text.len(), |next| next.from);
        let value = trimmed(self.text.get(from..until)?).strip_prefix(':')?;
        // The next key stands behind a comma; the last one's object ends instead.
        let ends = if next.is_some() { ',' } else { '}' };
        let value = trimmed(value).strip_suffix(ends)?;
        let leaves_data = mark.in_data && next.is_none_or(|next| !next.in_data);
        match leaves_data {
            true => Some(trimmed(trimmed(value).strip_suffix('}')?)),
            false => Some(trimmed(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::stripe_wire::check_json;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    type Raw<'a> = BTreeMap<String, &'a RawValue>;

    /// Every member that serde_json finds is found with the same text, and no other is.
    fn agrees(text: &str) {
        let checked = check_json(text.as_bytes()).unwrap();
        let outside: Raw<'_> = serde_json::from_str(text).unwrap();
        for (key, raw) in &outside {
            if key != "data" {
                assert_eq!(
                    checked.member(false, key),
                    Some(Some(raw.get())),
                    "{key} in {text}"
                );
            }
        }
        let data = outside.get("data").map(|raw| raw.get());
        let data = data.and_then(|text| serde_json::from_str::<Raw<'_>>(text).ok());
        for key in ["object", "previous_attributes", "absent", "a"] {
            let raw = data.as_ref().and_then(|data| data.get(key));
            assert_eq!(
                checked.member(true, key),
                Some(raw.map(|raw| raw.get())),
                "{key} in {text}"
            );
        }
        assert_eq!(checked.member(false, "absent"), Some(None));
    }

    #[test]
    fn members_are_found_wherever_they_stand() {
        for text in [
            r#"{"id":"evt_1","data":{"object":{"a":{"data":{"object":1}},"id":"x"}},"type":"t"}"#,
            r#"{"data":{"object":{"id":"x"},"previous_attributes":{"a":[1,2]}}}"#,
            r#"{"data":{"previous_attributes":null , "object" : [ 1 , {} ] } , "id" : 7 }"#,
            "\n{ \"data\" :\t{ \"object\" : \"},{\\\"\" }\r\n}\n",
            r#"{"data":{},"id":"}"}"#,
            r#"{"data":[{"object":1}],"a":2}"#,
            r#"{"data":null}"#,
            r#"{"data":"object","object":"event"}"#,
            r#"{"id":{"data":{"object":2}},"data":{"a":1}}"#,
            "{}",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn a_key_in_escapes_hides_them_all_and_a_deep_one_none() {
        for text in [
            r#"{"id":1,"d\u0061ta":{"object":1}}"#,
            r#"{"id":1,"data":{"\u006fbject":1}}"#,
        ] {
            let checked = check_json(text.as_bytes()).unwrap();
            assert_eq!(checked.member(false, "id"), None, "{text}");
        }
        agrees(r#"{"id":1,"data":{"object":{"\u0061":"\"}"}},"a":{"data":{"\u0062":1}}}"#);
    }

    #[test]
    fn a_text_that_is_no_object_has_no_members() {
        for text in ["1", "[]", "\"data\"", r#"[{"id":1}]"#] {
            let checked = check_json(text.as_bytes()).unwrap();
            assert_eq!(checked.member(false, "id"), Some(None), "{text}");
        }
    }

    fn json(depth: u32) -> BoxedStrategy<String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("-1.5e3".to_owned()),
            "[ -~]{0,6}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        if depth == 0 {
            return leaf.boxed();
        }
        let inner = json(depth - 1);
        let space = "[ \n\t\r]{0,2}";
        let key = prop_oneof![
            Just("data"),
            Just("object"),
            Just("previous_attributes"),
            Just("a"),
            Just("},{:")
        ];
        let member = (space, key, space, space, inner.clone(), space)
            .prop_map(|(a, key, b, c, value, d)| (key, format!("{a}\"{key}\"{b}:{c}{value}{d}")));
        let object =
            (proptest::collection::vec(member, 0..5), space).prop_map(|(members, space)| {
                let mut seen = Vec::new();
                let mut texts = Vec::new();
                for (key, text) in members {
                    if !seen.contains(&key) {
                        seen.push(key);
                        texts.push(text);
                    }
                }
                let inside = if texts.is_empty() {
                    space
                } else {
                    texts.join(",")
                };
                format!("{{{inside}}}")
            });
        let list =
            proptest::collection::vec(inner, 0..3).prop_map(|all| format!("[{}]", all.join(" , ")));
        prop_oneof![3 => object, 1 => list, 1 => leaf].boxed()
    }

    proptest! {
        #[test]
        fn members_are_what_serde_json_finds(text in json(3)) {
            if text.starts_with('{') {
                agrees(&text);
            }
        }
    }
}
