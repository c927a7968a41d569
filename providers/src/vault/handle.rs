//! What is needed to end a session's tokens: their accessors, and which server knows them.

use exeat_crds::digest;
use exeat_crds::reason::Reason;

use crate::ProviderError;

const START: &str = "vault:";
/// Characters of the server's hash.
const HASH: usize = 12;
/// Longest handle, characters: what status holds.
const MAX: usize = 1024;

/// Writes and reads the handles of one server.
pub(super) struct Handle {
    start: String,
}

impl Handle {
    pub(super) fn of(address: &str, namespace: Option<&str>) -> Self {
        let server = digest::sha256_hex(format!("{address}\n{}", namespace.unwrap_or_default()).as_bytes());
        Self { start: format!("{START}{}:", &server[..HASH]) }
    }

    /// The handle of one token.
    pub(super) fn with(&self, accessor: &str) -> String {
        format!("{}{accessor}", self.start)
    }

    /// Whether the token is on record as one of this server's.
    pub(super) fn holds(&self, handle: Option<&str>, accessor: &str) -> bool {
        handle.is_some_and(|handle| handle.split(' ').any(|one| one.strip_prefix(&self.start) == Some(accessor)))
    }

    /// The accessors of a handle.
    ///
    /// # Errors
    /// `ProviderRejected` where another server made them: the provider's settings have changed since.
    pub(super) fn accessors(&self, handle: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let all = handle.into_iter().flat_map(|handle| handle.split(' ')).filter(|one| !one.is_empty());
        all.map(|one| {
            one.strip_prefix(&self.start).map(str::to_owned).ok_or_else(|| {
                ProviderError::lasting(
                    Reason::ProviderRejected,
                    "the session's token was made at another address or namespace than spec.vault names now; it ends with its own time, \
                     or once the former settings are back",
                )
            })
        })
        .collect()
    }
}

/// Whether a handle is one of Vault's.
pub(crate) fn is_handle(handle: &str) -> bool {
    handle.starts_with(START)
}

/// Two records of what was handed out, in one. Where that is too long the oldest go; the provider has ended them before.
pub(crate) fn joined(earlier: Option<&str>, new: &str) -> String {
    split(earlier, new).1.join(" ")
}

/// What there is no room for beside the new one, and what stays.
pub(super) fn split<'a>(earlier: Option<&'a str>, new: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let earlier = earlier.into_iter().flat_map(|handle| handle.split(' '));
    let mut all: Vec<&str> = earlier.filter(|one| !one.is_empty() && *one != new).collect();
    all.push(new);
    let mut out = Vec::new();
    while all.iter().map(|one| one.len() + 1).sum::<usize>() > MAX && all.len() > 1 {
        out.push(all.remove(0));
    }
    (out, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_server_and_no_other_takes_it() {
        let (here, there) = (Handle::of("https://a", None), Handle::of("https://a", Some("team")));
        let both = joined(Some(&here.with("one")), &here.with("two"));
        assert_eq!(here.accessors(Some(&both)).unwrap(), ["one", "two"]);
        assert!(here.holds(Some(&both), "two") && !here.holds(Some(&both), "three") && !here.holds(None, "one"));
        assert!(!there.holds(Some(&both), "one"));
        assert_eq!(there.accessors(Some(&both)).unwrap_err().reason, Reason::ProviderRejected);
        assert!(here.accessors(None).unwrap().is_empty() && is_handle(&both));
        assert_eq!(joined(Some(&both), &here.with("two")), both);
    }

    #[test]
    fn the_record_stays_within_what_status_holds_and_keeps_the_newest() {
        let server = Handle::of("https://a", None);
        let mut all = String::new();
        for n in 0..100 {
            all = joined(Some(&all), &server.with(&format!("{n:024}")));
        }
        assert!(all.len() <= MAX && server.holds(Some(&all), &format!("{:024}", 99)));
        assert!(!server.holds(Some(&all), &format!("{:024}", 0)));
        let next = server.with("next");
        let (out, kept) = split(Some(&all), &next);
        assert!(!out.is_empty(), "it is full");
        let every: Vec<_> = all.split(' ').chain([next.as_str()]).collect();
        assert_eq!(
            out.iter().chain(&kept).copied().collect::<Vec<_>>(),
            every,
            "what does not stay is told to be ended"
        );
        assert!(split(None, &next).0.is_empty());
    }
}
