//! Judges of patterns and documents that share no code with the rules they check: slow, plain readings of AWS's, Azure's, MinIO's,
//! RBAC's, Vault's and Google's words.

use serde_json::Value;

/// A glob over characters, by a table: `table[i][j]` says whether the first `i` of the pattern match the first `j` of the text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    table(pattern, text, true)
}

/// `question`: whether a `?` stands for any one character.
fn table(pattern: &str, text: &str, question: bool) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let mut table = vec![vec![false; text.len() + 1]; pattern.len() + 1];
    table[0][0] = true;
    for i in 1..=pattern.len() {
        for j in 0..=text.len() {
            table[i][j] = match pattern[i - 1] {
                '*' => table[i - 1][j] || (j > 0 && table[i][j - 1]),
                '?' if question => j > 0 && table[i - 1][j - 1],
                c => j > 0 && c == text[j - 1] && table[i - 1][j - 1],
            };
        }
    }
    table[pattern.len()][text.len()]
}

/// An ARN pattern: each of its first five parts matches one part of the text, but a `*` at a part's end may go on over
/// further parts; the sixth matches all that is left.
pub(crate) fn arn(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let parts: Vec<&str> = pattern.splitn(6, ':').collect();
    let words: Vec<&str> = text.split(':').collect();
    // After each part: how many words may have been used up.
    let mut used = vec![0];
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        used = (1..=words.len())
            .filter(|to| {
                used.iter().any(|from| {
                    from < to
                        && match part.strip_suffix('*') {
                            _ if last => *to == words.len() && glob(part, &words[*from..].join(":")),
                            Some(stem) => begins(stem, words[*from]),
                            None => *to == from + 1 && glob(part, words[*from]),
                        }
                })
            })
            .collect();
    }
    used.contains(&words.len())
}

/// Whether some beginning of the text matches.
fn begins(pattern: &str, text: &str) -> bool {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(pattern, &text[..at]))
}

/// `service:Name` of AWS, without regard to case; `*` alone is everything.
pub(crate) fn aws_action(pattern: &str, call: &str) -> bool {
    let (pattern, call) = (pattern.to_ascii_lowercase(), call.to_ascii_lowercase());
    let (Some((service, name)), Some((called, what))) = (pattern.split_once(':'), call.split_once(':')) else {
        return pattern == "*" && call.contains(':');
    };
    glob(service, called) && glob(name, what)
}

/// An operation of Azure: `*` is any run of characters, and case has no meaning.
pub(crate) fn azure_action(pattern: &str, call: &str) -> bool {
    glob(&pattern.to_ascii_lowercase(), &call.to_ascii_lowercase())
}

/// `verb resource[.group][/subresource]` of Kubernetes, split into its four parts.
fn words(text: &str) -> Option<[String; 4]> {
    let text = if text == "*" { "* *" } else { text };
    let (verb, target) = text.split_once(|c: char| c.is_ascii_whitespace())?;
    let (path, sub) = target.trim().split_once('/').map_or((target.trim(), None), |(path, sub)| (path, Some(sub)));
    let (resource, group) = path.split_once('.').map_or((path, None), |(resource, group)| (resource, Some(group)));
    let every = resource == "*";
    let group = group.unwrap_or(if every { "*" } else { "" });
    // "+" stands for the object with all its subresources, "" for the object alone.
    let sub = sub.unwrap_or(if every { "+" } else { "" });
    Some([verb.trim().to_owned(), resource.to_owned(), group.to_owned(), sub.to_owned()])
}

/// Whether a pattern names the action of a call.
pub(crate) fn kubernetes_action(pattern: &str, call: &str) -> bool {
    let (Some(pattern), Some(call)) = (words(pattern.trim()), words(call.trim())) else { return false };
    let same = |i: usize| pattern[i] == "*" || pattern[i] == call[i];
    let sub = match pattern[3].as_str() {
        "+" => true,
        "*" => !call[3].is_empty(),
        exact => exact == call[3],
    };
    same(0) && same(1) && same(2) && sub
}

/// What a document says of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// No statement speaks of it: a resource's own policy that names the session could still allow it.
    Unspoken,
    Denied,
}

fn listed<'a>(statement: &'a Value, field: &str) -> Result<Option<Vec<&'a str>>, String> {
    match statement.get(field) {
        None => Ok(None),
        Some(Value::String(one)) => Ok(Some(vec![one])),
        Some(Value::Array(many)) if !many.is_empty() => {
            let texts: Option<Vec<&str>> = many.iter().map(Value::as_str).collect();
            texts.map(Some).ok_or_else(|| format!("{field} holds what is no text: {statement}"))
        }
        Some(other) => Err(format!("{field} is no list: {other}")),
    }
}

/// Whether `Field` names the call, or `NotField` does not.
fn applies(statement: &Value, field: &str, named: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    match (listed(statement, field)?, listed(statement, &format!("Not{field}"))?) {
        (Some(list), None) => Ok(list.into_iter().any(named)),
        (None, Some(list)) => Ok(!list.into_iter().any(named)),
        _ => Err(format!("a statement needs one of {field} and Not{field}: {statement}")),
    }
}

fn judge(document: &Value, action: &dyn Fn(&str) -> bool, resource: &dyn Fn(&str) -> bool) -> Result<Verdict, String> {
    let statements = document["Statement"].as_array().ok_or("the document has no list of statements")?;
    let mut verdict = Verdict::Unspoken;
    for statement in statements {
        if !(applies(statement, "Action", action)? && applies(statement, "Resource", resource)?) {
            continue;
        }
        match statement["Effect"].as_str() {
            Some("Deny") => return Ok(Verdict::Denied),
            Some("Allow") => verdict = Verdict::Allowed,
            _ => return Err(format!("no effect: {statement}")),
        }
    }
    Ok(verdict)
}

/// IAM's evaluation (IAM User Guide, "Policy evaluation logic"): an explicit denial wins.
pub(crate) fn judge_aws(document: &Value, action: &str, resource: &str) -> Result<Verdict, String> {
    judge(document, &|pattern| aws_action(pattern, action), &|pattern| arn(pattern, resource))
}

/// MinIO's evaluation (its `policy` package, `Statement.IsAllowed`): case has a meaning; a bucket is judged as `bucket/` or by its
/// clean name; `s3:GetObjectVersion` written out stands for `s3:GetObject` too.
pub(crate) fn judge_minio(document: &Value, action: &str, resource: &str) -> Result<Verdict, String> {
    const PREFIX: &str = "arn:aws:s3:::";
    let path = resource.strip_prefix(PREFIX).unwrap_or(resource);
    let judged = if path.contains('/') { path.to_owned() } else { format!("{path}/") };
    judge(
        document,
        &|pattern| glob(pattern, action) || (pattern == "s3:GetObjectVersion" && action == "s3:GetObject"),
        &|pattern| {
            let pattern = pattern.strip_prefix(PREFIX).unwrap_or(pattern);
            glob(pattern, &judged) || pattern == path
        },
    )
}

/// A path pattern of Vault: a `*` at the end begins whatever follows, `+` is a segment; a call may end in a slash.
pub(crate) fn vault_path(pattern: &str, call: &str) -> bool {
    let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    let lies = |call: &str| {
        let (stem, open) = pattern.strip_suffix('*').map_or((pattern, false), |stem| (stem, true));
        let wanted: Vec<&str> = stem.split('/').collect();
        let parts: Vec<&str> = if open { call.splitn(wanted.len(), '/').collect() } else { call.split('/').collect() };
        let last = wanted.len() - 1;
        parts.len() == wanted.len()
            && wanted.iter().zip(&parts).enumerate().all(|(i, (wanted, part))| match *wanted {
                start if open && i == last => part.starts_with(start),
                "+" => !part.is_empty(),
                text => text == *part,
            })
    };
    lies(call) || call.strip_suffix('/').is_some_and(lies)
}

/// A permission of Google by its letters, `*` for any run of them; a custom role apart, but for what means everything.
pub(crate) fn gcp_action(pattern: &str, call: &str) -> bool {
    let everything = !pattern.is_empty() && pattern.bytes().all(|c| c == b'*');
    let is_role = |text: &str| text.starts_with("inRole:");
    everything || is_role(pattern) == is_role(call) && table(pattern, call, false)
}

/// A name at Google, or with a `*` at its end the beginning of one.
pub(crate) fn gcp_resource(pattern: &str, call: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == call, |start| call.starts_with(start))
}

/// A verb of Vault, with a path where it holds there alone.
pub(crate) fn vault_action(pattern: &str, call: &str) -> bool {
    let halves = |text: &str| {
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        (words.next().unwrap_or_default(), words.next())
    };
    let ((verb, path), (called, on)) = (halves(pattern), halves(call));
    let there = match (path.as_deref(), on.as_deref()) {
        (None | Some("*"), _) => true,
        (Some(path), Some(on)) => vault_path(path, on.strip_suffix('/').unwrap_or(on)),
        (Some(_), None) => false,
    };
    (verb == "*" || verb == called) && there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_read_patterns_as_they_are_documented() {
        for (pattern, text, expected) in
            [("a*c", "abc", true), ("a?c", "ac", false), ("*", "", true), ("**b", "ab", true)]
        {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
        for (pattern, text, expected) in [
            ("arn:aws:s3:::b/*", "arn:aws:s3:::b/x:y", true),
            ("arn:aws:dynamodb:eu-*-1:1:table/t", "arn:aws:dynamodb:eu-west-1:1:table/t", true),
            ("arn:aws:dynamodb:e?:1:table/t", "arn:aws:dynamodb:e::1:table/t", false),
            ("arn:aws:dynamodb:*:table/t", "arn:aws:dynamodb:eu:1:table/t", true),
            ("arn:aws:dynamodb:e?*:table/t", "arn:aws:dynamodb:e:u:table/t", false),
            ("arn:aws:s3:::b", "arn:aws:s3:::b:c", false),
        ] {
            assert_eq!(arn(pattern, text), expected, "{pattern} {text}");
        }
        assert!(aws_action("S3:get*", "s3:GetObject") && !aws_action("s3:*", "s3x:GetObject"));
        for (pattern, call, expected) in [
            ("* pods", "get pods", true),
            ("get pods", "get pods/log", false),
            ("get pods/*", "get pods", false),
            ("get *", "get deployments.apps/scale", true),
            ("* *.apps", "get pods", false),
            ("*", "delete pods", true),
        ] {
            assert_eq!(kubernetes_action(pattern, call), expected, "{pattern} {call}");
        }
    }
}
