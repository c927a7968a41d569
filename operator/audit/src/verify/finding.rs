use crate::chain::Origin;
use exeat_crds::text;
use serde::Serialize;
use std::fmt;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Code {
    /// A line (or a head) that was a record can't be read any more.
    Unreadable,
    /// A record is signed with a key that was not given, or that is not its program's: its content is not proved.
    KeyUnknown,
    /// A record is not what was signed.
    Changed,
    /// Records are not there.
    Missing,
    /// A record stands behind a later one.
    Reordered,
    /// A record stands there more than once.
    Duplicated,
    /// Two signed records have the same place: the chain was continued twice, as by somebody with the key.
    Forked,
    /// A signed record does not follow the one before it.
    Spliced,
    /// Records at the end are not there: the head is further than the log.
    Truncated,
    /// The head is of another record than the one in the log.
    HeadMismatch,
    /// The program itself says that it could not record all that happened.
    Lost,
}

impl Code {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "Unreadable",
            Self::KeyUnknown => "KeyUnknown",
            Self::Changed => "Changed",
            Self::Missing => "Missing",
            Self::Reordered => "Reordered",
            Self::Duplicated => "Duplicated",
            Self::Forked => "Forked",
            Self::Spliced => "Spliced",
            Self::Truncated => "Truncated",
            Self::HeadMismatch => "HeadMismatch",
            Self::Lost => "Lost",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub code: Code,
    /// The record's writer, as far as it is known.
    pub writer: String,
    /// The record's boot, as far as it is known.
    pub boot: String,
    /// The record's place in its chain.
    pub sequence: Option<u64>,
    /// Where it shows: number of the line, counted from 1.
    pub line: Option<u64>,
    /// For people.
    pub message: String,
}

impl Finding {
    pub(super) fn new(
        code: Code,
        origin: &Origin,
        sequence: Option<u64>,
        line: Option<u64>,
        message: impl Into<String>,
    ) -> Self {
        let (writer, boot) = (origin.writer.clone(), origin.boot.clone());
        Self { code, writer, boot, sequence, line, message: message.into() }
    }

    pub(super) fn of_line(line: u64, message: String) -> Self {
        let (writer, boot) = (String::new(), String::new());
        Self { code: Code::Unreadable, writer, boot, sequence: None, line: Some(line), message }
    }

    pub(super) fn of_head(name: &str, message: &str) -> Self {
        let (writer, boot) = name.rsplit_once('.').unwrap_or((name, ""));
        Self {
            code: Code::Unreadable,
            writer: writer.to_owned(),
            boot: boot.to_owned(),
            sequence: None,
            line: None,
            message: message.to_owned(),
        }
    }
}

/// One line. What comes from the log is quoted: it may hold anything.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())?;
        if let Some(line) = self.line {
            write!(f, " line={line}")?;
        }
        if !self.writer.is_empty() {
            write!(f, " writer={:?} boot={:?}", self.writer, self.boot)?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, " sequence={sequence}")?;
        }
        write!(f, ": {}", text::strip_hidden(&self.message))
    }
}
