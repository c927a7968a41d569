//! HTTP/1 read strictly, apart from the server's own reading: the heads that an input may hold, and the answers to them.

use serde_json::Value;

/// A request head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Head {
    /// The path without its query, and without a fragment, which servers leave out.
    pub(crate) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }

    /// The value of a field that is there exactly once.
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }
}

/// Every request head that stands anywhere in these bytes: where a request begins depends on the ones before it, so a reader
/// that could be led astray is given the benefit of each beginning, but of no laxness in the head itself.
pub(crate) fn heads(bytes: &[u8]) -> Vec<Head> {
    let text = String::from_utf8_lossy(bytes);
    text.match_indices("GET ").filter_map(|(at, _)| head(&text[at..])).collect()
}

fn head(text: &str) -> Option<Head> {
    // A line without an end is none.
    let lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    let mut lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
        return None;
    }
    let mut fields = Vec::new();
    for line in lines {
        if line.is_empty() {
            return Some(Head { method: method.to_owned(), target: target.to_owned(), fields });
        }
        let (name, value) = line.split_once(':')?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) || value.contains(['\r', '\0']) {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    None
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    text: String,
    body: String,
}

impl Answer {
    /// Whether any of these texts is in it.
    pub(crate) fn holds(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.text.contains(text))
    }

    /// The reason code in its body, if there is one.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Reads answers up to the end.
///
/// # Errors
/// Where the bytes are no HTTP/1.
pub(crate) fn answers(bytes: &[u8]) -> Result<Vec<Answer>, String> {
    let mut rest = std::str::from_utf8(bytes).map_err(|error| format!("an answer is no text: {error}"))?;
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, after) = rest.split_once("\r\n\r\n").ok_or_else(|| format!("a head does not end: {rest:?}"))?;
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let known = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "));
        let status = known.and_then(|rest| rest.get(..3)).and_then(|status| status.parse::<u16>().ok());
        let status =
            status.filter(|status| (100..600).contains(status)).ok_or_else(|| format!("no status line: {line:?}"))?;
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("no header: {line:?}"))?;
            if name.eq_ignore_ascii_case("content-length") {
                must_be_first(length.replace(value.parse::<usize>().map_err(|error| format!("{value:?}: {error}"))?))?;
            }
        }
        let length = length.unwrap_or(0);
        // An answer to HEAD says how long its body would be, and has none.
        let whole = after.get(..length).filter(|body| !body.starts_with("HTTP/1."));
        let body = match whole {
            Some(body) => body,
            None if after.is_empty() || after.starts_with("HTTP/1.") => "",
            None => return Err(format!("a body of {length} bytes is cut: {after:?}")),
        };
        answers.push(Answer { status, text: format!("{head}\r\n\r\n{body}"), body: body.to_owned() });
        rest = &after[body.len()..];
    }
    Ok(answers)
}

fn must_be_first(earlier: Option<usize>) -> Result<(), String> {
    if earlier.is_some() { Err("two lengths in one answer".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_anywhere_and_read_strictly() {
        let found = heads(b"junkGET /a?b HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\nbodyGET /c HTTP/1.0\nA: 1\n\nGET /cut HTTP/1.1\r\nA: 1\r\n");
        assert_eq!(found.iter().map(Head::path).collect::<Vec<_>>(), ["/a", "/c"]);
        assert_eq!((found[0].only("host"), found[1].only("a")), (None, Some("1")));
        for bad in [
            "GET /a HTTP/1.1 \r\n\r\n",
            "GET a HTTP/1.1\r\n\r\n",
            "GET /a HTTP/1.1\r\nA : 1\r\n\r\n",
            "GET /a HTTP/1.1\r\nA: 1\r\n b\r\n\r\n",
        ] {
            assert!(heads(bad.as_bytes()).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn answers_are_read_to_the_end_or_not_at_all() {
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\n\r\n{\"code\":\"X\"}";
        let read = answers(two).unwrap();
        assert_eq!((read[0].status, read[0].body.as_str(), read[1].code().as_str()), (200, "", "X"));
        for bad in
            ["hello", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", "HTTP/2 200\r\n\r\n"]
        {
            assert!(answers(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
