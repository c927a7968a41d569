//! Tables as kubectl prints them.

use super::{Paint, Tone};
use exeat_crds::text;

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A text from the cluster: what could forge or reorder what a reader sees is taken out of it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: text::strip_hidden(text.as_ref()), tone: Tone::Plain }
    }

    /// The same in a tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Rows under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. `wide` columns come last and are shown with `-o wide` only.
    pub fn new(columns: &[&'static str], wide: &[&'static str]) -> Self {
        let columns = columns.iter().map(|name| (*name, false)).chain(wide.iter().map(|name| (*name, true)));
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines of the table.
    pub fn render(&self, wide: bool, paint: Paint) -> String {
        let shown: Vec<usize> = (0..self.columns.len()).filter(|i| wide || !self.columns[*i].1).collect();
        let widths: Vec<usize> = shown
            .iter()
            .map(|i| {
                self.rows.iter().map(|row| width(&row[*i].text)).chain([self.columns[*i].0.len()]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<Cell> = shown.iter().map(|i| Cell::new(self.columns[*i].0).tone(Tone::Bold)).collect();
        let mut text = line(&heading.iter().collect::<Vec<_>>(), &widths, paint);
        for row in &self.rows {
            text += &line(&shown.iter().map(|i| &row[*i]).collect::<Vec<_>>(), &widths, paint);
        }
        text
    }
}

fn width(text: &str) -> usize {
    text.chars().count().max(1)
}

fn line(cells: &[&Cell], widths: &[usize], paint: Paint) -> String {
    let mut text = String::new();
    for (i, (cell, wanted)) in cells.iter().zip(widths).enumerate() {
        let shown = if cell.text.is_empty() { "-" } else { &cell.text };
        text += &paint.on(cell.tone, shown);
        if i + 1 < cells.len() {
            text += &" ".repeat(wanted + 3 - width(shown));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_wide_ones_are_left_out() {
        let mut table = Table::new(&["NAME", "PHASE"], &["REASON"]);
        table.row(vec!["agent-1".into(), Cell::new("Active").tone(Tone::Good), "".into()]);
        table.row(vec!["b\u{202E}\n".into(), "é".into(), "Held".into()]);
        assert_eq!(table.render(false, Paint(false)), "NAME      PHASE\nagent-1   Active\nb         é\n");
        assert_eq!(
            table.render(true, Paint(false)),
            "NAME      PHASE    REASON\nagent-1   Active   -\nb         é        Held\n"
        );
        assert!(table.render(false, Paint(true)).contains("\u{1b}[32mActive\u{1b}[0m"));
    }
}
