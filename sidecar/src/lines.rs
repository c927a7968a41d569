//! Cuts a stream of bytes into lines. Pure.

/// Longest line: a message with room to spare.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A line that does not end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {MAX_LINE_BYTES} bytes")]
pub struct TooLong;

/// Bytes that make no whole line yet.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Adds `bytes` and hands every line that is whole now to `take`, without its end.
    ///
    /// # Errors
    /// When a line is too long; the stream can't be read on.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), TooLong> {
        let mut bytes = bytes;
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, after) = bytes.split_at(end);
            if self.rest.len() + line.len() > MAX_LINE_BYTES {
                return Err(TooLong);
            }
            self.rest.extend_from_slice(line);
            take(self.rest.trim_ascii());
            self.rest.clear();
            bytes = &after[1..];
        }
        if self.rest.len() + bytes.len() > MAX_LINE_BYTES {
            return Err(TooLong);
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(&vec![b'a'; MAX_LINE_BYTES], |_| ()), Ok(()));
        assert_eq!(lines.push(b"a", |_| ()), Err(TooLong));
        assert_eq!(
            Lines::default().push(&[vec![b'a'; MAX_LINE_BYTES + 1], vec![b'\n']].concat(), |_| ()),
            Err(TooLong)
        );
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            text in prop::collection::vec("[a-z{}\"]{0,12}", 0..8), cuts in prop::collection::vec(1_usize..9, 1..40)
        ) {
            let mut whole = text.join("\n").into_bytes();
            whole.push(b'\n');
            let mut lines = Lines::default();
            let mut seen: Vec<String> = Vec::new();
            let mut rest = &whole[..];
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break }
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                lines.push(head, |line| seen.push(String::from_utf8(line.to_vec()).unwrap())).unwrap();
                rest = tail;
            }
            let expected = if text.is_empty() { vec![String::new()] } else { text };
            prop_assert_eq!(seen, expected);
        }
    }
}
