//! Lines on a stream that can't be taken back, as standard output.

use super::Entry;
use super::thread::Writer;
use std::io::{self, Write};

/// Writes line by line and remembers how far it came, so that a second try repeats no whole line.
pub struct Lines<W> {
    out: W,
    /// The last record that is out.
    last: Option<u64>,
    /// Whether part of a line may be out.
    torn: bool,
}

impl<W: Write + Send + 'static> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, last: None, torn: false }
    }
}

impl<W: Write + Send + 'static> Writer for Lines<W> {
    fn write(&mut self, batch: &[Entry]) -> io::Result<()> {
        let last = self.last;
        for entry in batch.iter().filter(|entry| last.is_none_or(|last| entry.sequence > last)) {
            if self.torn {
                self.out.write_all(b"\n")?;
            }
            self.torn = true;
            self.out.write_all(&entry.line).and_then(|()| self.out.flush())?;
            self.torn = false;
            self.last = Some(entry.sequence);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Takes as many bytes as it has room for.
    #[derive(Clone, Default)]
    struct Small(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut inner = self.0.lock().unwrap();
            let taken = bytes.len().min(inner.1 - inner.0.len());
            inner.0.extend_from_slice(&bytes[..taken]);
            if taken == 0 { Err(io::Error::other("no space left")) } else { Ok(taken) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_torn_line_the_record_comes_whole_and_none_comes_twice() {
        let small = Small::default();
        small.0.lock().unwrap().1 = 7;
        let mut lines = Lines::new(small.clone());
        let batch = ["aaaa\n", "bbbb\n", "cccc\n"].map(|line| line.as_bytes().to_vec());
        let batch: Vec<_> = (0..).zip(batch).map(|(sequence, line)| Entry { sequence, line: line.into() }).collect();
        assert!(lines.write(&batch[..2]).is_err());
        assert!(lines.write(&batch[..2]).is_err());
        small.0.lock().unwrap().1 = 100;
        lines.write(&batch).unwrap();
        lines.write(&batch).unwrap();
        assert_eq!(String::from_utf8_lossy(&small.0.lock().unwrap().0), "aaaa\nbb\nbbbb\ncccc\n");
    }
}
