//! One line of a message: our words, and names that others chose.

/// A line under construction; each format decides how to show the names in it.
#[derive(Clone, Default)]
pub(super) struct Line(Vec<Part>);

#[derive(Clone)]
enum Part {
    Words(String),
    Name(String),
}

impl Line {
    pub fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.0.push(Part::Words(words.into()));
        self
    }

    /// Adds a name, which may be any text.
    pub fn name(mut self, name: &str) -> Self {
        self.0.push(Part::Name(name.to_owned()));
        self
    }

    /// Adds another line.
    pub fn line(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// Returns the line with its names as `show` writes them, cut to `max_chars` characters by
    /// shortening the names: the last one keeps at least its share of the room.
    pub fn fitted(&self, max_chars: usize, show: impl Fn(&str) -> String) -> String {
        let mut room = max_chars;
        let mut names: Vec<Vec<char>> = Vec::new();
        for part in &self.0 {
            match part {
                Part::Words(words) => room = room.saturating_sub(words.chars().count()),
                Part::Name(name) => names.push(show(name).chars().collect()),
            }
        }
        let share = room / (names.len() + 1);
        for at in (0..names.len()).rev() {
            let others: usize = names[..at].iter().map(Vec::len).sum();
            let most = room.saturating_sub(others).max(share).min(room);
            if names[at].len() > most {
                names[at].truncate(most.saturating_sub(2));
                names[at].extend("..".chars().take(most));
            }
            room -= names[at].len();
        }
        let mut names = names.into_iter();
        let shown = self.0.iter().map(|part| match part {
            Part::Words(words) => words.clone(),
            Part::Name(_) => names.next().into_iter().flatten().collect(),
        });
        let line: String = shown.collect();
        line.chars().take(max_chars).collect()
    }
}
