//! Changes to inputs: of the tree where an input is JSON, of the bytes otherwise.

use serde_json::Value;

use crate::random::Random;

/// Largest input that a change may make, bytes.
const MOST: usize = 64 * 1024;
/// Bytes that mean something to parsers.
const BYTES: &[u8] = b"\0\t\n\r \"'(),-./:;=?@[\\]{}*%$\x7f\x80\xc3\xe2\xff";
/// Values of other types than the one that stands there.
const ODD: [&str; 10] = ["null", "true", "0", "-1", "18446744073709551616", "1e999", "\"\"", "[]", "{}", "[[null]]"];

/// A changed copy of `input`. `other` is a second input to take parts from.
pub(crate) fn mutate(input: &[u8], other: &[u8], tokens: &[&str], random: &mut Random) -> Vec<u8> {
    let tree = serde_json::from_slice::<Value>(input).ok().filter(|tree| tree.is_object() || tree.is_array());
    let mut changed = match tree {
        // Broken JSON is an input too, but seldom one that gets far.
        Some(mut tree) if !random.once_in(16) => {
            for _ in 0..=random.below(4) {
                let donor = serde_json::from_slice(other).unwrap_or(Value::Null);
                change_tree(&mut tree, &donor, tokens, random);
            }
            tree.to_string().into_bytes()
        }
        _ => {
            let mut bytes = input.to_vec();
            for _ in 0..=random.below(4) {
                change_bytes(&mut bytes, other, tokens, random);
            }
            bytes
        }
    };
    changed.truncate(MOST);
    changed
}

/// Number of values in a tree, itself included.
pub(crate) fn size(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => fields.values().map(size).sum::<usize>(),
        _ => 0,
    }
}

/// The `at`-th value of a tree, counted from the root downwards.
pub(crate) fn node(tree: &mut Value, at: usize) -> Option<&mut Value> {
    if at == 0 {
        return Some(tree);
    }
    let mut before = 1;
    let children: Vec<&mut Value> = match tree {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return None,
    };
    for child in children {
        let within = size(child);
        if at < before + within {
            return node(child, at - before);
        }
        before += within;
    }
    None
}

fn change_tree(tree: &mut Value, donor: &Value, tokens: &[&str], random: &mut Random) {
    let chosen = random.below(size(tree));
    let Some(value) = node(tree, chosen) else { return };
    match value {
        Value::Object(fields) if !random.once_in(8) => change_object(fields, donor, tokens, random),
        Value::Array(items) if !random.once_in(8) => change_array(items, donor, random),
        Value::String(text) if !random.once_in(8) => *text = change_text(text, tokens, random),
        Value::Bool(set) if !random.once_in(4) => *set = !*set,
        Value::Number(number) if !random.once_in(4) => {
            let old = number.as_i64().unwrap_or_default();
            let near = [old.wrapping_add(1), old.wrapping_sub(1), old.wrapping_neg(), 0, 1024, 65_535, 65_536, 60_911];
            *value = random.one(&near).copied().unwrap_or_default().into();
        }
        value => *value = foreign(Some(value), donor, random),
    }
}

/// A part of another input, of the same type as `like` where one is soon found, or a value of an odd type.
fn foreign(like: Option<&Value>, donor: &Value, random: &mut Random) -> Value {
    const TRIES: usize = 8;
    let mut donor = donor.clone();
    for _ in 0..TRIES {
        let chosen = random.below(size(&donor));
        let Some(part) = node(&mut donor, chosen) else { continue };
        let fits = like.is_none_or(|like| std::mem::discriminant(like) == std::mem::discriminant(part));
        if fits && !random.once_in(8) {
            return part.take();
        }
    }
    random.one(&ODD).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn change_object(fields: &mut serde_json::Map<String, Value>, donor: &Value, tokens: &[&str], random: &mut Random) {
    let keys: Vec<String> = fields.keys().cloned().collect();
    let key = random.one(&keys).cloned().unwrap_or_default();
    match random.below(5) {
        0 => drop(fields.remove(&key)),
        1 => {
            let value = fields.get(&key).cloned().unwrap_or_default();
            let token = random.one(tokens).copied().unwrap_or_default();
            fields.insert(token.to_owned(), value);
        }
        2 => {
            let value = fields.remove(&key).unwrap_or_default();
            fields.insert(change_text(&key, tokens, random), value);
        }
        3 => {
            let token = random.one(tokens).copied().unwrap_or_default();
            fields.insert(token.to_owned(), foreign(None, donor, random));
        }
        _ => {
            let other = random.one(&keys).cloned().unwrap_or_default();
            let value = fields.get(&other).cloned().unwrap_or_default();
            fields.insert(key, value);
        }
    }
}

fn change_array(items: &mut Vec<Value>, donor: &Value, random: &mut Random) {
    let (a, b) = (random.below(items.len()), random.below(items.len()));
    match random.below(4) {
        0 if !items.is_empty() => drop(items.remove(a)),
        1 if !items.is_empty() => items.swap(a, b),
        2 if !items.is_empty() => items.insert(b, items[a].clone()),
        _ => items.insert(a, foreign(items.first().cloned().as_ref(), donor, random)),
    }
}

/// A changed text: a token in its place or inside of it, or single characters.
fn change_text(text: &str, tokens: &[&str], random: &mut Random) -> String {
    const STRANGE: [char; 12] =
        ['*', '?', ':', '/', ' ', '\0', '\n', '\u{1b}', 'é', '\u{202e}', '\u{e0041}', '\u{1f600}'];
    let token = random.one(tokens).copied().unwrap_or_default();
    let mut chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len() + 1);
    let range = at..(at + random.below(4)).min(chars.len());
    match random.below(8) {
        0 | 1 => return token.to_owned(),
        2 => drop(chars.splice(at..at, token.chars())),
        3 => drop(chars.splice(range, random.one(&STRANGE).copied())),
        4 => drop(chars.drain(range)),
        5 => chars.truncate(at),
        6 => {
            let copy: Vec<char> = chars[range].repeat(1 + random.below(64));
            chars.splice(at..at, copy);
        }
        _ => {
            if let Some(c) = chars.get_mut(at) {
                *c = if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            }
        }
    }
    chars.into_iter().collect()
}

fn change_bytes(bytes: &mut Vec<u8>, other: &[u8], tokens: &[&str], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(32)).min(bytes.len());
    match random.below(8) {
        0 => drop(bytes.drain(at..end)),
        1 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        2 | 3 => drop(bytes.splice(at..at, random.one(tokens).copied().unwrap_or_default().bytes())),
        4 => drop(bytes.splice(at..at, random.one(BYTES).copied())),
        5 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        6 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(256)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_node_is_found_and_no_more() {
        let mut tree = json!({"a": [1, {"b": 2}], "c": "x"});
        assert_eq!(size(&tree), 6);
        let found: Vec<String> = (0..6).map(|at| node(&mut tree, at).unwrap().to_string()).collect();
        assert_eq!(found[1..], ["[1,{\"b\":2}]", "1", "{\"b\":2}", "2", "\"x\""]);
        assert!(node(&mut tree, 6).is_none());
    }

    #[test]
    fn changes_are_those_of_the_seed_and_differ_from_each_other() {
        let input = br#"{"metadata":{"annotations":{"a":"b"}},"spec":[1,2,{"c":null}]}"#;
        let draw = |seed: u64| mutate(input, b"[3]", &["token"], &mut Random::new(seed));
        assert!((0..200).all(|seed| draw(seed) == draw(seed)));
        let different: std::collections::BTreeSet<_> = (0..200).map(draw).collect();
        assert!(different.len() > 150, "{}", different.len());
        let trees = different.iter().filter(|bytes| serde_json::from_slice::<Value>(bytes).is_ok()).count();
        assert!(trees * 10 > different.len() * 8, "most stay JSON: {trees} of {}", different.len());
    }
}
