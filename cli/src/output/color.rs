//! Colours, on a terminal only.

/// What a word means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// Of less interest.
    Dim,
    /// A heading.
    Bold,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// Whether colours are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// A text in its tone.
    pub fn on(self, tone: Tone, text: &str) -> String {
        if !self.0 || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_coloured_unless_asked_for() {
        assert_eq!(Paint(false).on(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).on(Tone::Plain, "x"), "x");
        assert_eq!(Paint(true).on(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
