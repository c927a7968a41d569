//! What is shown: tables for people, JSON and YAML for programs.

pub mod color;
pub mod table;
pub mod time;

pub use color::{Paint, Tone};
pub use table::{Cell, Table};

use crate::error::Error;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::json;
use std::io::Write;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// With more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Comma-separated values; `audit export` alone writes it.
    #[value(hide = true)]
    Csv,
}

/// Where a command writes, and how.
pub struct Out<'a> {
    /// What is asked for goes here.
    pub to: &'a mut (dyn Write + Send),
    /// Progress and notes go here.
    pub notes: &'a mut (dyn Write + Send),
    /// `-o`.
    pub format: Format,
    /// Whether colours are welcome.
    pub paint: Paint,
    /// Whether somebody sits at a terminal, who can be asked.
    pub asks: bool,
}

impl Out<'_> {
    /// Whether programs read.
    pub fn is_data(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// One value as JSON or YAML.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn data<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let text = if self.format == Format::Yaml {
            serde_saphyr::to_string(value).map_err(|error| Error::Format(error.to_string()))?
        } else {
            serde_json::to_string_pretty(value).map_err(|error| Error::Format(error.to_string()))?
        };
        Ok(writeln!(self.to, "{}", text.trim_end())?)
    }

    /// One of several values, as they come: a line of JSON each, or a YAML document each.
    ///
    /// # Errors
    /// As [`Out::data`].
    pub fn document<T: Serialize>(&mut self, value: &T) -> Result<(), Error> {
        if self.format == Format::Yaml {
            self.text("---\n")?;
            return self.data(value);
        }
        let text = serde_json::to_string(value).map_err(|error| Error::Format(error.to_string()))?;
        Ok(writeln!(self.to, "{text}")?)
    }

    /// Objects: as a table, or as a List.
    ///
    /// # Errors
    /// As [`Out::data`].
    pub fn list<T: Serialize>(&mut self, items: &[T], table: impl FnOnce() -> Table, none: &str) -> Result<(), Error> {
        if self.is_data() {
            return self.data(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
        }
        if items.is_empty() {
            return Ok(writeln!(self.notes, "{none}")?);
        }
        let text = table().render(self.format == Format::Wide, self.paint);
        Ok(write!(self.to, "{text}")?)
    }

    /// Text for people.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn text(&mut self, text: &str) -> Result<(), Error> {
        Ok(write!(self.to, "{text}")?)
    }

    /// A line about what is going on.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn note(&mut self, text: &str) -> Result<(), Error> {
        Ok(writeln!(self.notes, "{}", exeat_crds::text::strip_hidden(text))?)
    }

    /// Lines that were put together for people, and whose parts were cleaned there, beside what programs read.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn notes(&mut self, text: &str) -> Result<(), Error> {
        Ok(writeln!(self.notes, "{}", text.trim_end())?)
    }

    /// Asks on the terminal.
    ///
    /// # Errors
    /// When the question can't be asked.
    pub fn confirm(&mut self, question: &str) -> Result<bool, Error> {
        if !self.asks {
            return Err(Error::Usage("this is no terminal to ask on: add --yes".to_owned()));
        }
        write!(self.notes, "{question} [y/N] ")?;
        self.notes.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stays_one_line_and_notes_stay_several() {
        let (mut to, mut notes) = (Vec::new(), Vec::new());
        let mut out = Out { to: &mut to, notes: &mut notes, format: Format::Table, paint: Paint(false), asks: false };
        out.note("denied: fine\nApproved by alice").unwrap();
        out.notes("For:     x\nAccount: y\n").unwrap();
        assert_eq!(String::from_utf8(notes).unwrap(), "denied: fineApproved by alice\nFor:     x\nAccount: y\n");
    }

    #[test]
    fn values_that_come_one_by_one_are_told_apart() {
        for (format, expected) in [(Format::Json, "{\"a\":1}\n{\"a\":1}\n"), (Format::Yaml, "---\na: 1\n---\na: 1\n")] {
            let (mut to, mut notes) = (Vec::new(), Vec::new());
            let mut out = Out { to: &mut to, notes: &mut notes, format, paint: Paint(false), asks: false };
            out.document(&json!({"a": 1})).unwrap();
            out.document(&json!({"a": 1})).unwrap();
            assert_eq!(String::from_utf8(to).unwrap(), expected);
        }
    }
}
