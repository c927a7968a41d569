//! Text that agents and approvers wrote: shown, but never trusted.

/// Longest text taken from people or agents, characters.
pub const MAX: usize = 512;

/// Strips control and bidirectional characters, which could forge or reorder what a reader sees, and cuts to [`MAX`] characters.
pub fn sanitize(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).take(MAX).collect()
}

/// Strips the same characters as [`sanitize`] and leaves the length.
pub fn strip_hidden(text: &str) -> String {
    text.chars().filter(|c| !is_hidden(*c)).collect()
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{061C}' | '\u{E0000}'..='\u{E007F}')
}

/// Cuts at a character border so that at most `max` bytes are left.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_go_and_length_is_bounded() {
        assert_eq!(sanitize("ok\u{202E}evil\n\x1b[31m"), "okevil[31m");
        assert_eq!(sanitize(&"é".repeat(600)).chars().count(), MAX);
        assert_eq!(strip_hidden(&"é\n".repeat(600)), "é".repeat(600));
        assert_eq!(cut("aé", 2), "a");
    }
}
