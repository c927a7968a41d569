//! One file for each pod in a folder, with a bounded size. A batch counts as written once `fdatasync` has returned: a mint's intent
//! survives the node's power cut. Intents that come together share one such call.

use super::Entry;
use super::thread::Writer;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log shipper in the pod's group may read, nobody else.
const MODE: u32 = 0o640;

/// What a file sink is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The folder; it must exist.
    pub folder: PathBuf,
    /// The file is called `<name>.ndjson`, older ones `<name>.ndjson.1` and so on.
    pub name: String,
    /// Bytes after which a new file is begun.
    pub max_bytes: u64,
    /// Older files that are kept; the oldest is removed for a new one.
    pub keep: u32,
}

/// Appends to the file, and begins a new one where it would become too large.
pub struct Folder {
    settings: FileSettings,
    open: Option<Open>,
}

struct Open {
    file: File,
    size: u64,
}

impl Folder {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When the folder does not exist or can't be written to.
    pub fn open(settings: FileSettings) -> io::Result<Self> {
        let mut folder = Self { settings, open: None };
        folder.opened()?;
        Ok(folder)
    }

    fn path(&self, number: u32) -> PathBuf {
        let Self { settings: FileSettings { folder, name, .. }, .. } = self;
        folder.join(if number == 0 { format!("{name}.ndjson") } else { format!("{name}.ndjson.{number}") })
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open_file(&self.path(0))?,
        };
        Ok(self.open.insert(open))
    }

    /// Makes room for `more` bytes.
    fn rotate(&mut self, more: u64) -> io::Result<()> {
        let size = self.opened()?.size;
        if size == 0 || size.saturating_add(more) <= self.settings.max_bytes {
            return Ok(());
        }
        self.open = None;
        let oldest = self.path(self.settings.keep);
        if oldest.exists() {
            std::fs::remove_file(&oldest)?;
            tracing::warn!(file = %oldest.display(), "the oldest audit file was removed to make room");
        }
        for number in (0..self.settings.keep).rev() {
            match std::fs::rename(self.path(number), self.path(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::open(&self.settings.folder)?.sync_all()
    }
}

fn open_file(path: &Path) -> io::Result<Open> {
    let explain = |error: io::Error| io::Error::new(error.kind(), format!("audit file {}: {error}", path.display()));
    let open = || {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let mut size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        // What a crash has torn off stands on a line of its own.
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
        Ok(Open { file, size })
    };
    open().map_err(explain)
}

impl Writer for Folder {
    fn write(&mut self, batch: &[Entry]) -> io::Result<()> {
        let text: Vec<u8> = batch.iter().flat_map(|entry| entry.line.iter().copied()).collect();
        let more = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.rotate(more)?;
        let open = self.opened()?;
        let written = open.file.write_all(&text).and_then(|()| open.file.sync_data());
        match written {
            Ok(()) => open.size += more,
            // All of the batch comes again, so nothing of it may stay; a fresh handle forgets the failed pages.
            Err(_) => {
                let _ = open.file.set_len(open.size);
                self.open = None;
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("exeat-audit-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
        fn settings(&self) -> FileSettings {
            FileSettings { folder: self.0.clone(), name: "pod-a".to_owned(), max_bytes: 20, keep: 2 }
        }
        fn read(&self, name: &str) -> Option<String> {
            std::fs::read_to_string(self.0.join(name)).ok()
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn entry(sequence: u64) -> Vec<Entry> {
        vec![Entry { sequence, line: format!("record {sequence}\n").into_bytes().into() }]
    }

    #[test]
    fn files_are_bounded_and_the_oldest_goes() {
        let folder = Temporary::new("rotate");
        let mut file = Folder::open(folder.settings()).unwrap();
        for number in 0..7 {
            file.write(&entry(number)).unwrap();
        }
        assert_eq!(folder.read("pod-a.ndjson").unwrap(), "record 6\n");
        assert_eq!(folder.read("pod-a.ndjson.1").unwrap(), "record 4\nrecord 5\n");
        assert_eq!(folder.read("pod-a.ndjson.2").unwrap(), "record 2\nrecord 3\n");
        assert_eq!(folder.read("pod-a.ndjson.3"), None);
    }

    #[test]
    fn a_restart_appends_and_a_torn_line_stands_alone() {
        let folder = Temporary::new("restart");
        std::fs::write(folder.0.join("pod-a.ndjson"), "whole\nto").unwrap();
        let mut file = Folder::open(folder.settings()).unwrap();
        file.write(&entry(0)).unwrap();
        assert_eq!(folder.read("pod-a.ndjson").unwrap(), "whole\nto\nrecord 0\n");
    }

    #[test]
    fn a_folder_that_is_gone_is_named_and_works_once_it_is_back() {
        let folder = Temporary::new("gone");
        let mut file = Folder::open(folder.settings()).unwrap();
        file.open = None;
        std::fs::remove_dir_all(&folder.0).unwrap();
        let error = file.write(&entry(0)).unwrap_err().to_string();
        assert!(error.contains("pod-a.ndjson"), "{error}");
        std::fs::create_dir(&folder.0).unwrap();
        file.write(&entry(0)).unwrap();
        assert_eq!(folder.read("pod-a.ndjson").unwrap(), "record 0\n");
    }

    #[test]
    fn a_full_disk_leaves_no_half_batch() {
        let mut file = Folder {
            settings: FileSettings { folder: "/dev".into(), name: "x".to_owned(), max_bytes: 1 << 20, keep: 1 },
            open: Some(Open { file: OpenOptions::new().append(true).open("/dev/full").unwrap(), size: 0 }),
        };
        assert!(file.write(&entry(0)).is_err());
        assert!(file.open.is_none());
    }
}
