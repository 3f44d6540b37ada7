//! One line of a message: our words, and names that others chose.

/// A name that others chose, and a harmless identifier of the same thing.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// The name; may be any text.
    pub text: String,
    /// An ID, a serial or an ARN.
    pub identifier: String,
}

/// A line under construction; each format decides how to show the names in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Words(String),
    Name(Name),
}

impl Line {
    pub fn new(words: impl Into<String>) -> Self {
        Self::default().words(words)
    }

    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.0.push(Part::Words(words.into()));
        self
    }

    pub fn name(mut self, name: &Name) -> Self {
        self.0.push(Part::Name(name.clone()));
        self
    }

    /// Iterates over the names.
    pub fn names_mut(&mut self) -> impl Iterator<Item = &mut Name> {
        self.0.iter_mut().filter_map(|part| match part {
            Part::Name(name) => Some(name),
            Part::Words(_) => None,
        })
    }

    /// Returns the line with its names as `show` writes them, cut to `max_chars` characters by
    /// shortening the names: the last one keeps at least its share of the room.
    pub fn fitted(&self, max_chars: usize, show: impl Fn(&str) -> String) -> String {
        let mut room = max_chars;
        let mut names: Vec<Vec<char>> = Vec::new();
        for part in &self.0 {
            match part {
                Part::Words(words) => room = room.saturating_sub(words.chars().count()),
                Part::Name(name) => names.push(show(&name.text).chars().collect()),
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
