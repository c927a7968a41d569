//! Bodies of the kind `application/x-www-form-urlencoded`.

use zeroize::Zeroizing;

/// The form as it is sent. It holds a secret.
pub(crate) fn encoded(form: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    // Room for all, so that growing leaves no copy behind.
    let room = form.iter().map(|(key, value)| 3 * (key.len() + value.len()) + 2).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for (key, value) in form {
        if !out.is_empty() {
            out.push(b'&');
        }
        for (i, text) in [key, value].into_iter().enumerate() {
            if i == 1 {
                out.push(b'=');
            }
            for byte in text.bytes() {
                if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                    out.push(byte);
                } else {
                    out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_so_that_nothing_of_it_ends_a_value() {
        for (value, written) in [
            ("https://storage.azure.com/.default", "https%3A%2F%2Fstorage.azure.com%2F.default"),
            ("a&b=c d+~é", "a%26b%3Dc%20d%2B~%C3%A9"),
            ("{\"a\": 'b&c=d'}", "%7B%22a%22%3A%20%27b%26c%3Dd%27%7D"),
        ] {
            let form = encoded(&[("scope", value), ("token", "x")]);
            assert_eq!(std::str::from_utf8(&form).unwrap(), format!("scope={written}&token=x"));
        }
    }
}
