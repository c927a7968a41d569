//! A value against its schema: type, presence, bounds, patterns, and fields that there are not.

use super::Fault;
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

/// Words of a schema that are judged here, or that say nothing of a value by itself. A test holds our definitions to them.
#[cfg(test)]
pub(super) const WORDS: [&str; 21] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maximum",
    "maxItems",
    "maxLength",
    "minimum",
    "minItems",
    "minLength",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
];

/// Judges `value`, which is at `path`.
pub(super) fn faults(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let kind = schema["type"].as_str().unwrap_or_default();
    if value.is_null() {
        if schema["nullable"] != true {
            faults.push(Fault::invalid(path, format!("it is empty; write {}, or remove it", a(kind))));
        }
        return;
    }
    if !is_of(kind, value) {
        faults.push(Fault::invalid(path, format!("{value} is not {}; write one", a(kind))));
        return;
    }
    if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.contains(value)) {
        let choices: Vec<String> = choices.iter().filter(|choice| !choice.is_null()).map(plain).collect();
        faults
            .push(Fault::invalid(path, format!("{value} is none of its values; write one of {}", choices.join(", "))));
    }
    match value {
        Value::String(text) => of_text(schema, text, path, faults),
        Value::Number(_) => of_number(schema, value, path, faults),
        Value::Array(items) => of_list(schema, items, path, faults),
        Value::Object(_) => of_object(schema, value, path, faults),
        _ => {}
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn a(kind: &str) -> &'static str {
    match kind {
        "object" => "an object with fields",
        "array" => "a list",
        "string" => "a text (in quotes where YAML would take it for a number or a truth value)",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        _ => "a value",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn of_text(schema: &Value, text: &str, path: &str, faults: &mut Vec<Fault>) {
    let length = text.chars().count();
    if let Some(problem) = amount(length, &schema["minLength"], &schema["maxLength"], "characters") {
        faults.push(Fault::invalid(path, problem));
    }
    // A pattern that Rust can't read is the API server's to judge.
    if let Some(pattern) = schema["pattern"].as_str()
        && Regex::new(pattern).is_ok_and(|wanted| !wanted.is_match(text))
    {
        faults.push(Fault::invalid(path, format!("{text:?} does not match {pattern}{}", example(pattern))));
    }
    if schema["format"] == "date-time" && text.parse::<Timestamp>().is_err() {
        faults.push(Fault::invalid(path, format!("{text:?} is no time; write RFC 3339 UTC, as 2026-01-31T12:00:00Z")));
    }
}

/// The pattern of durations is the only one that people meet often.
fn example(pattern: &str) -> &'static str {
    if pattern.contains("(h|m|s)") { "; write a duration as 90m or 1h30m" } else { "; write it so that it does" }
}

fn of_number(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let narrow = schema["format"] == "int32";
    let bound = |word: &str, by_format: i32| schema[word].as_f64().or(narrow.then_some(f64::from(by_format)));
    let number = value.as_f64().unwrap_or_default();
    if let Some(least) = bound("minimum", i32::MIN).filter(|least| number < *least) {
        faults.push(Fault::invalid(path, format!("{value} is too small; write at least {least}")));
    }
    if let Some(most) = bound("maximum", i32::MAX).filter(|most| number > *most) {
        faults.push(Fault::invalid(path, format!("{value} is too big; write at most {most}")));
    }
}

fn of_list(schema: &Value, items: &[Value], path: &str, faults: &mut Vec<Fault>) {
    if let Some(problem) = amount(items.len(), &schema["minItems"], &schema["maxItems"], "entries") {
        faults.push(Fault::invalid(path, problem));
    }
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        self::faults(&schema["items"], item, &path, faults);
        if let Some(first) = items[..i].iter().position(|earlier| is_twin(schema, earlier, item)) {
            faults.push(Fault::invalid(&path, format!("it is there already as entry {first}; remove one")));
        }
    }
}

/// Whether two entries of a set, or of a map written as a list, are the same one.
fn is_twin(schema: &Value, one: &Value, other: &Value) -> bool {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => one == other,
        Some("map") => schema["x-kubernetes-list-map-keys"]
            .as_array()
            .is_some_and(|keys| keys.iter().filter_map(Value::as_str).all(|key| one.get(key) == other.get(key))),
        _ => false,
    }
}

fn of_object(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let Some(fields) = value.as_object() else { return };
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) && schema["properties"][name]["default"].is_null() {
            faults.push(Fault::missing(below(name)));
        }
    }
    for (name, field) in fields {
        let of_any = &schema["additionalProperties"];
        match schema["properties"].get(name) {
            Some(known) => self::faults(known, field, &below(name), faults),
            None if of_any.is_object() => self::faults(of_any, field, &below(name), faults),
            None => {
                let known = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
                faults.push(Fault::unknown(below(name), name, known.filter(|name| *name != "status")));
            }
        }
    }
}

/// What is wrong with an amount, and the fix.
fn amount(count: usize, least: &Value, most: &Value, of: &str) -> Option<String> {
    let count = count as u64;
    if let Some(least) = least.as_u64().filter(|least| count < *least) {
        return Some(format!("it has {count} {of}; write at least {least}"));
    }
    most.as_u64().filter(|most| count > *most).map(|most| format!("it has {count} {of}; write at most {most}"))
}
