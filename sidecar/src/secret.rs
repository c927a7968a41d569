//! The loopback secret: what a caller on 127.0.0.1 must show before a credential is answered.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::guard::Rejection;
use crate::protocol::azure;

/// Bytes of randomness in the loopback secret and in the holder key.
const RANDOM_BYTES: usize = 32;

/// A random value in lower-case hex, zeroized on drop.
pub fn random_hex() -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = Zeroizing::new([0_u8; RANDOM_BYTES]);
    rand::fill(&mut bytes[..]);
    let mut text = Zeroizing::new(String::with_capacity(2 * RANDOM_BYTES));
    for byte in bytes.iter() {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// What callers must show. Hides its values.
pub struct Secrets {
    loopback: Zeroizing<String>,
    pod_uid: Option<Zeroizing<String>>,
}

impl Secrets {
    /// `loopback` opens every protocol; `pod_uid`, where given, opens AWS and Azure too.
    pub fn new(loopback: Zeroizing<String>, pod_uid: Option<String>) -> Self {
        Self { loopback, pod_uid: pod_uid.map(Zeroizing::new) }
    }

    /// AWS SDKs send the token as the whole value of `Authorization`.
    ///
    /// # Errors
    /// When the header is missing, repeated or wrong.
    pub fn check_aws(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        self.check_value(single(headers, &AUTHORIZATION)?)
    }

    /// Azure's SDKs send the value of `IDENTITY_HEADER` in a header of their own.
    ///
    /// # Errors
    /// When the header is missing, repeated or wrong.
    pub fn check_azure(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        self.check_value(single(headers, &HeaderName::from_static(azure::SECRET_HEADER))?)
    }

    fn check_value(&self, shown: &[u8]) -> Result<(), Rejection> {
        let uid = self.pod_uid.as_ref().map(|uid| uid.as_bytes().ct_eq(shown));
        let opened = self.loopback.as_bytes().ct_eq(shown) | uid.unwrap_or_else(|| 0.into());
        if opened.into() { Ok(()) } else { Err(Rejection::SecretWrong) }
    }

    /// Plain JSON: `Authorization: Bearer <secret>`.
    ///
    /// # Errors
    /// When the header is missing, repeated, of another scheme or wrong.
    pub fn check_bearer(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        const SCHEME: &[u8] = b"bearer ";
        let shown = single(headers, &AUTHORIZATION)?;
        let (scheme, value) = shown.split_at_checked(SCHEME.len()).ok_or(Rejection::SecretWrong)?;
        let opened = scheme.eq_ignore_ascii_case(SCHEME) && self.loopback.as_bytes().ct_eq(value).into();
        if opened { Ok(()) } else { Err(Rejection::SecretWrong) }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("pod_uid_accepted", &self.pod_uid.is_some()).finish_non_exhaustive()
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a [u8], Rejection> {
    let mut values = headers.get_all(name).iter();
    let shown = values.next().ok_or(Rejection::SecretMissing)?;
    if values.next().is_some() { Err(Rejection::SecretWrong) } else { Ok(shown.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pod_uid: Option<&str>) -> Secrets {
        Secrets::new(Zeroizing::new("s3cret".into()), pod_uid.map(Into::into))
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn random_values_are_64_hex_digits_without_newline_and_differ() {
        let (one, other) = (random_hex(), random_hex());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{}", *one);
        assert_ne!(*one, *other);
    }

    #[test]
    fn aws_takes_the_bare_secret_only() {
        let secrets = secrets(None);
        assert_eq!(secrets.check_aws(&headers(&["s3cret"])), Ok(()));
        assert_eq!(secrets.check_aws(&headers(&[])), Err(Rejection::SecretMissing));
        for wrong in [&["s3cre"][..], &["s3crets"], &[""], &["Bearer s3cret"], &["S3CRET"], &["s3cret", "s3cret"]] {
            assert_eq!(secrets.check_aws(&headers(wrong)), Err(Rejection::SecretWrong), "{wrong:?}");
        }
    }

    #[test]
    fn json_takes_a_bearer_only() {
        let secrets = secrets(Some("uid"));
        assert_eq!(secrets.check_bearer(&headers(&["Bearer s3cret"])), Ok(()));
        assert_eq!(secrets.check_bearer(&headers(&["bearer s3cret"])), Ok(()));
        assert_eq!(secrets.check_bearer(&headers(&[])), Err(Rejection::SecretMissing));
        for wrong in ["s3cret", "Basic s3cret", "Bearer ", "Bearer", "Bearer  s3cret", "Bearer uid"] {
            assert_eq!(secrets.check_bearer(&headers(&[wrong])), Err(Rejection::SecretWrong), "{wrong:?}");
        }
    }

    #[test]
    fn the_pod_uid_opens_aws_only_where_it_is_accepted() {
        assert_eq!(secrets(Some("uid")).check_aws(&headers(&["uid"])), Ok(()));
        assert_eq!(secrets(Some("uid")).check_aws(&headers(&["s3cret"])), Ok(()));
        assert_eq!(secrets(None).check_aws(&headers(&["uid"])), Err(Rejection::SecretWrong));
    }

    #[test]
    fn azure_takes_its_own_header_only() {
        let shown = |values: &[&str]| {
            values.iter().map(|v| (HeaderName::from_static("x-identity-header"), v.parse().unwrap())).collect()
        };
        let secrets = secrets(Some("uid"));
        for fine in ["uid", "s3cret"] {
            assert_eq!(secrets.check_azure(&shown(&[fine])), Ok(()));
        }
        assert_eq!(secrets.check_azure(&headers(&["uid"])), Err(Rejection::SecretMissing));
        for wrong in [&["ui"][..], &[""], &["Bearer uid"], &["uid", "uid"]] {
            assert_eq!(secrets.check_azure(&shown(wrong)), Err(Rejection::SecretWrong), "{wrong:?}");
        }
    }

    #[test]
    fn debug_hides_the_values() {
        let shown = format!("{:?}", secrets(Some("the-uid")));
        assert!(!shown.contains("s3cret") && !shown.contains("the-uid"), "{shown}");
    }
}
