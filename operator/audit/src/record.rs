//! A record as it stands in the log: one flat JSON object, in one spelling that every JSON library can compute again.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;

/// Value of the field `audit` in every record; it names the format.
pub const FORMAT: &str = "exeat.dev/v1";
/// Name of the field that holds the MAC.
pub const MAC_FIELD: &str = "mac";

/// A MAC (or a chain's start value): 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac([u8; 32]);

/// A text is no MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hexadecimal digits")]
pub struct MacError;

impl Mac {
    /// Wraps 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0_u8; 32];
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        hex::decode_to_slice(text, &mut bytes).ok().filter(|()| lower).map(|()| Self(bytes)).ok_or(MacError)
    }
}

/// A value of a record. There are no others, so that the canonical spelling needs no rules for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(u64),
}

/// The fields of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Record(BTreeMap<String, Value>);

impl Record {
    /// The text of a field, if it is there and is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.0.get(field)? {
            Value::Text(text) => Some(text),
            Value::Number(_) => None,
        }
    }

    /// The number of a field, if it is there and is one.
    pub fn number(&self, field: &str) -> Option<u64> {
        match self.0.get(field)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }

    /// Whether there is such a field.
    pub fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Sets a text.
    pub fn set(&mut self, field: &str, text: String) {
        self.0.insert(field.to_owned(), Value::Text(text));
    }

    /// Takes characters out of all texts that could hide or reorder what a reader sees.
    pub fn strip_hidden(&mut self) {
        for value in self.0.values_mut() {
            if let Value::Text(text) = value {
                *text = exeat_crds::text::strip_hidden(text);
            }
        }
    }

    /// The canonical spelling of all fields (RFC 8785: sorted keys, no white space, shortest escapes).
    ///
    /// # Errors
    /// None in practice: texts and numbers can always be written.
    pub fn canonical(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.0)
    }

    /// The canonical spelling without the MAC: what the MAC is of.
    ///
    /// # Errors
    /// As [`Record::canonical`].
    pub fn signed_bytes(&self) -> serde_json::Result<Vec<u8>> {
        let rest: BTreeMap<_, _> = self.0.iter().filter(|(field, _)| *field != MAC_FIELD).collect();
        serde_json::to_vec(&rest)
    }
}

/// A field that stands twice is refused: readers differ in which of the two they show.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Record;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts and whole numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((field, value)) = map.next_entry::<String, Value>()? {
                    match fields.entry(field) {
                        Entry::Vacant(vacant) => vacant.insert(value),
                        Entry::Occupied(taken) => {
                            return Err(A::Error::custom(format!("the field {:?} stands twice", taken.key())));
                        }
                    };
                }
                Ok(Record(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_is_one_whatever_a_collector_made_of_it() {
        let written: Record = serde_json::from_str(r#"{"b":"x\"\\é","a":7,"mac":"m"}"#).unwrap();
        let reshaped: Record =
            serde_json::from_str("{ \"mac\": \"m\",\t\"a\" : 7, \"b\": \"\\u0078\\\"\\\\\\u00e9\" }\n").unwrap();
        assert_eq!(written, reshaped);
        assert_eq!(String::from_utf8(reshaped.canonical().unwrap()).unwrap(), r#"{"a":7,"b":"x\"\\é","mac":"m"}"#);
        assert_eq!(String::from_utf8(reshaped.signed_bytes().unwrap()).unwrap(), r#"{"a":7,"b":"x\"\\é"}"#);
    }

    #[test]
    fn what_readers_could_see_differently_is_no_record() {
        for text in [
            r#"{"a":"1","a":"2"}"#,
            r#"{"a":{}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":null}"#,
            r#"{"a":1.0}"#,
            r#"{"a":-1}"#,
            "[]",
            "7",
        ] {
            assert!(serde_json::from_str::<Record>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mac_has_one_spelling() {
        let text = "0a".repeat(32);
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
        for other in [text.to_uppercase(), text[1..].to_owned(), format!("{text}0a"), "zz".repeat(32)] {
            assert_eq!(other.parse::<Mac>(), Err(MacError), "{other}");
        }
    }
}
