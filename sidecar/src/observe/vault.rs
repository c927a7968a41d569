//! Calls to Vault, as they were judged. Pure.

use exeat_wire::Operation;

use crate::vault::judge::{Denial, Judged};

/// Longest path that is told.
const MAX_PATH: usize = 256;

/// What a call was, if it is one that a grant names: made, or refused for want of a grant.
pub fn operation(judged: Result<&Judged, &Denial>) -> Option<Operation> {
    let (verb, path) = match judged {
        Ok(judged) if judged.look_up => return None,
        Ok(judged) => (judged.verb, &judged.path),
        Err(Denial::NotGranted { verb, path }) => (*verb, path),
        Err(_) => return None,
    };
    (path.len() <= MAX_PATH).then(|| Operation::Vault { verb: verb.to_owned(), path: path.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_no_grant_and_what_is_no_call_is_not_told() {
        let judged = Judged { verb: "read", path: "secret/data/a".into(), look_up: false };
        let told = Operation::Vault { verb: "read".into(), path: "secret/data/a".into() };
        assert_eq!(operation(Ok(&judged)), Some(told.clone()));
        assert_eq!(operation(Err(&Denial::NotGranted { verb: "read", path: "secret/data/a".into() })), Some(told));
        assert_eq!(operation(Ok(&Judged { look_up: true, ..judged.clone() })), None);
        assert_eq!(operation(Err(&Denial::Path)), None);
        assert_eq!(operation(Ok(&Judged { path: "a".repeat(MAX_PATH + 1), ..judged })), None);
    }
}
