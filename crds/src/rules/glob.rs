//! The pattern language of every rule: `*` is any run of characters, also none; `?` is exactly one character.
//!
//! Texts are any strings. Two dialects exist: a plain glob, and the glob of an ARN, in whose first five parts (the ones
//! between colons) a wildcard stays inside its part, but for a `*` that ends its part: that one crosses colons
//! (IAM User Guide, "IAM JSON policy elements: Resource"). In the last part every wildcard matches colons too.
//!
//! Answers are never unsafe: [`Pattern::subset`] may say `false` where `true` was right only once its work exceeds
//! [`MAX_WORK`] steps ([`MAX_LITERAL`] where the narrow one is a plain text), [`Pattern::overlaps`] and [`Pattern::matches`] are exact.

/// Longest pattern, characters. A longer one matches nothing, is inside nothing and overlaps everything.
pub const MAX_PATTERN: usize = 2048;

/// Steps after which [`Pattern::subset`] gives up and says `false`. Only a pattern with many `*` and long texts between them gets there.
pub const MAX_WORK: usize = 1 << 14;

/// The same for a text without wildcards, by the lengths of both: whatever is an action is told exactly.
pub const MAX_LITERAL: usize = 1 << 16;

const ARN_PARTS: usize = 6;

/// Whether letters of different case are the same letter (ASCII only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `A` and `a` differ.
    Sensitive,
    /// `A` and `a` are one letter.
    Insensitive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    One { colon: bool },
    Run { colon: bool },
}

/// A letter of a text: a known one, or one that no pattern names and that is no colon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letter {
    Known(char),
    Fresh,
}

impl Token {
    fn takes(self, letter: Letter) -> bool {
        match self {
            Self::Literal(c) => letter == Letter::Known(c),
            Self::One { colon } | Self::Run { colon } => colon || letter != Letter::Known(':'),
        }
    }

    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(c), class) | (class, Self::Literal(c)) => class.takes(Letter::Known(c)),
            _ => true,
        }
    }

    /// The letters that decide inclusion: whatever takes a fresh letter takes every other letter but, perhaps, the colon.
    fn letters(self) -> &'static [Letter] {
        match self {
            Self::One { colon: true } | Self::Run { colon: true } => &[Letter::Fresh, Letter::Known(':')],
            _ => &[Letter::Fresh],
        }
    }

    fn is_run(self) -> bool {
        matches!(self, Self::Run { .. })
    }
}

/// A pattern, read once. Two patterns are only ever compared within one dialect and one [`Case`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
    case: Case,
    too_long: bool,
}

impl Pattern {
    /// A plain glob.
    pub fn glob(text: &str, case: Case) -> Self {
        let mut pattern = Self::empty(case);
        pattern.push_glob(text);
        pattern
    }

    /// A glob over ARNs, case-sensitive, with the law of parts. `*` alone matches everything.
    pub fn arn(text: &str) -> Self {
        let mut pattern = Self::empty(Case::Sensitive);
        let mut part = 1;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let last = part >= ARN_PARTS;
            match c {
                '*' => pattern.push(Token::Run { colon: last || matches!(chars.peek(), None | Some(':')) }),
                '?' => pattern.push(Token::One { colon: last }),
                ':' => {
                    part += 1;
                    pattern.push(Token::Literal(':'));
                }
                c => pattern.push(Token::Literal(c)),
            }
        }
        pattern
    }

    /// The pattern of the empty text, to build on.
    pub(crate) fn empty(case: Case) -> Self {
        Self { tokens: Vec::new(), case, too_long: false }
    }

    /// Appends a glob.
    pub(crate) fn push_glob(&mut self, text: &str) {
        for c in text.chars() {
            self.push(match c {
                '*' => Token::Run { colon: true },
                '?' => Token::One { colon: true },
                c => Token::Literal(c),
            });
        }
    }

    /// Appends text whose `*` and `?` are ordinary characters.
    pub(crate) fn push_literal(&mut self, text: &str) {
        for c in text.chars() {
            self.push(Token::Literal(c));
        }
    }

    fn push(&mut self, token: Token) {
        if self.tokens.len() >= MAX_PATTERN {
            self.too_long = true;
            return;
        }
        if let (Some(Token::Run { colon }), Token::Run { colon: more }) = (self.tokens.last_mut(), token) {
            *colon |= more;
            return;
        }
        self.tokens.push(match token {
            Token::Literal(c) => Token::Literal(self.fold(c)),
            other => other,
        });
    }

    fn fold(&self, c: char) -> char {
        match self.case {
            Case::Sensitive => c,
            Case::Insensitive => c.to_ascii_lowercase(),
        }
    }

    /// Whether the pattern holds no wildcard.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Literal(_)))
    }

    /// Whether the pattern matches this text.
    pub fn matches(&self, text: &str) -> bool {
        if self.too_long {
            return false;
        }
        self.reads(text.chars().map(|c| self.fold(c)))
    }

    fn reads(&self, text: impl Iterator<Item = char>) -> bool {
        let mut states = self.start();
        for c in text {
            states = self.step(&states, Letter::Known(c));
            if states.is_empty() {
                return false;
            }
        }
        self.accepts(&states)
    }

    /// The only text that it matches.
    fn literal(&self) -> Option<Vec<char>> {
        let letter = |token: &Token| match token {
            Token::Literal(c) => Some(*c),
            _ => None,
        };
        self.tokens.iter().map(letter).collect()
    }

    /// Whether every text of this pattern is matched by `wide`. Never `true` wrongly.
    pub fn subset(&self, wide: &Self) -> bool {
        if self.too_long || wide.too_long || self.case != wide.case {
            return false;
        }
        if self == wide {
            return true;
        }
        if self.tokens.len() * wide.tokens.len() <= MAX_LITERAL
            && let Some(text) = self.literal()
        {
            return wide.reads(text.into_iter());
        }
        Inclusion { narrow: self, wide, seen: vec![Vec::new(); self.tokens.len() + 1], todo: Vec::new(), work: 0 }
            .holds()
    }

    /// Whether some text is matched by both. Never `false` wrongly.
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.too_long || other.too_long || self.case != other.case {
            return true;
        }
        let (n, m) = (self.tokens.len(), other.tokens.len());
        let mut row = vec![false; m + 1];
        row[0] = true;
        for i in 0..=n {
            let mut next = vec![false; m + 1];
            for j in 0..=m {
                if !row[j] {
                    continue;
                }
                let (a, b) = (self.tokens.get(i).copied(), other.tokens.get(j).copied());
                next[j] |= a.is_some_and(Token::is_run);
                if b.is_some_and(Token::is_run) {
                    row[j + 1] = true;
                }
                let (Some(a), Some(b)) = (a, b) else { continue };
                if !a.meets(b) {
                    continue;
                }
                match (a.is_run(), b.is_run()) {
                    (true, true) => {}
                    (true, false) => row[j + 1] = true,
                    (false, true) => next[j] = true,
                    (false, false) => next[j + 1] = true,
                }
            }
            if i == n {
                return row[m];
            }
            row = next;
        }
        false
    }

    fn start(&self) -> Vec<u32> {
        let mut states = Vec::new();
        self.enter(0, &mut states);
        states
    }

    /// Adds a position and what an empty run leads to; positions stay sorted and unique.
    fn enter(&self, at: u32, states: &mut Vec<u32>) {
        let mut at = at;
        loop {
            if states.last().is_none_or(|last| *last < at) {
                states.push(at);
            }
            match self.tokens.get(at as usize) {
                Some(token) if token.is_run() => at += 1,
                _ => return,
            }
        }
    }

    fn step(&self, states: &[u32], letter: Letter) -> Vec<u32> {
        let mut next = Vec::with_capacity(states.len());
        for at in states {
            if let Some(token) = self.tokens.get(*at as usize)
                && token.takes(letter)
            {
                self.enter(if token.is_run() { *at } else { *at + 1 }, &mut next);
            }
        }
        next
    }

    fn accepts(&self, states: &[u32]) -> bool {
        states.last().is_some_and(|last| *last as usize == self.tokens.len())
    }
}

/// Language inclusion by walking `narrow` against the set of positions where `wide` may be. Of two such sets at one
/// position the smaller decides, so larger ones are dropped.
struct Inclusion<'a> {
    narrow: &'a Pattern,
    wide: &'a Pattern,
    seen: Vec<Vec<Vec<u32>>>,
    todo: Vec<(usize, Vec<u32>)>,
    work: usize,
}

impl Inclusion<'_> {
    fn holds(mut self) -> bool {
        self.visit(0, self.wide.start());
        while let Some((at, states)) = self.todo.pop() {
            self.work += states.len() + 1;
            if self.work > MAX_WORK || states.is_empty() {
                return false;
            }
            let Some(token) = self.narrow.tokens.get(at).copied() else {
                if self.wide.accepts(&states) {
                    continue;
                }
                return false;
            };
            match token {
                Token::Literal(c) => {
                    let next = self.wide.step(&states, Letter::Known(c));
                    self.visit(at + 1, next);
                }
                Token::One { .. } | Token::Run { .. } => {
                    for letter in token.letters() {
                        let next = self.wide.step(&states, *letter);
                        self.visit(if token.is_run() { at } else { at + 1 }, next);
                    }
                    if token.is_run() {
                        self.visit(at + 1, states);
                    }
                }
            }
        }
        true
    }

    fn visit(&mut self, at: usize, states: Vec<u32>) {
        let known = &mut self.seen[at];
        self.work += known.iter().map(Vec::len).sum::<usize>();
        if known.iter().any(|smaller| is_within(smaller, &states)) {
            return;
        }
        known.retain(|larger| !is_within(&states, larger));
        known.push(states.clone());
        self.todo.push((at, states));
    }
}

/// Whether every element of the sorted `small` is in the sorted `large`.
fn is_within(small: &[u32], large: &[u32]) -> bool {
    let mut rest = large.iter();
    small.len() <= large.len() && small.iter().all(|wanted| rest.any(|have| have == wanted))
}

/// Whether a plain glob matches a text.
pub fn matches(pattern: &str, text: &str, case: Case) -> bool {
    Pattern::glob(pattern, case).matches(text)
}

/// Whether every text of the plain glob `narrow` is matched by `wide`. Never `true` wrongly.
pub fn subset(narrow: &str, wide: &str, case: Case) -> bool {
    Pattern::glob(narrow, case).subset(&Pattern::glob(wide, case))
}

/// Whether some text is matched by both plain globs. Never `false` wrongly.
pub fn overlaps(a: &str, b: &str, case: Case) -> bool {
    Pattern::glob(a, case).overlaps(&Pattern::glob(b, case))
}

#[cfg(test)]
#[path = "glob_tests.rs"]
mod tests;
