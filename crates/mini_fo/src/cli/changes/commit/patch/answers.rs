//! What can be answered.

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    /// No to this and to all that would be asked.
    Quit,
    /// Yes to this and to all behind it in the same file.
    All,
    /// No to these.
    Done,
    /// Leaves it for later.
    Next,
    Back,
    Split,
    Help,
}

/// Which of them there are besides those that there always are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Also {
    pub next: bool,
    pub back: bool,
    pub split: bool,
}

impl Also {
    /// As a question lists them.
    pub fn letters(self) -> String {
        let more = [(self.next, ",j"), (self.back, ",k"), (self.split, ",s")];
        let more: String = more.iter().filter(|(there, _)| *there).map(|(_, text)| *text).collect();
        format!("y,n,q,a,d{more},?")
    }

    /// What was typed. Nothing that is known: help.
    pub fn read(self, typed: &str) -> Answer {
        match typed.trim().chars().next().map(|c| c.to_ascii_lowercase()) {
            Some('y') => Answer::Yes,
            Some('n') => Answer::No,
            Some('q') => Answer::Quit,
            Some('a') => Answer::All,
            Some('d') => Answer::Done,
            Some('j') if self.next => Answer::Next,
            Some('k') if self.back => Answer::Back,
            Some('s') if self.split => Answer::Split,
            _ => Answer::Help,
        }
    }
}

/// What each means.
pub const HELP: &str = "\
y - commit this
n - leave this in the storage
q - leave this and all that was not asked yet
a - commit this and all later hunks of the file
d - leave this and all later hunks of the file
j - decide later, and go to the next hunk that is not decided
k - decide later, and go to the one before
s - split this hunk into smaller ones
? - help
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_offered_counts() {
        let few = Also::default();
        assert_eq!(few.letters(), "y,n,q,a,d,?");
        assert_eq!((few.read("s\n"), few.read("\n"), few.read(" Y\n")), {
            (Answer::Help, Answer::Help, Answer::Yes)
        });
        let all = Also { next: true, back: true, split: true };
        assert_eq!(all.letters(), "y,n,q,a,d,j,k,s,?");
        assert_eq!((all.read("s"), all.read("j"), all.read("k")), {
            (Answer::Split, Answer::Next, Answer::Back)
        });
    }
}
