//! Questions about what a run has changed, and answers that only show something.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use crate::cli::args::{DiffArgs, ReviewArgs, StatusArgs, WhereArgs};
use crate::cli::changes;
use crate::exit::Failure;
use crate::review;

/// There is a terminal, to ask and to answer.
pub fn is_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// What the user types. `None`: he has gone.
pub fn answer(question: &str) -> Option<String> {
    let mut err = io::stderr();
    err.write_all(question.as_bytes()).and_then(|()| err.flush()).ok()?;
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_lowercase()),
    }
}

/// Shows what was asked for; words that nobody knows let the question come again.
pub fn show(word: &str, path: &Path) {
    let path = path.to_path_buf();
    let shown = match word {
        "s" | "status" => changes::status(&StatusArgs { path, ..StatusArgs::default() }),
        "i" | "diff" => changes::diff(&DiffArgs { path, ..DiffArgs::default() }),
        _ => Ok(()),
    };
    if let Err(failure) = shown
        && !failure.is_silent()
    {
        let _ = writeln!(io::stderr(), "mini_fo: {failure}");
    }
}

/// Shows them in a browser, until the user is done.
///
/// # Errors
/// They cannot be shown.
pub fn review(path: &Path) -> Result<(), Failure> {
    review::run(ReviewArgs {
        place: WhereArgs::default(),
        port: 0,
        no_open: false,
        idle: Some(60),
        path: path.to_path_buf(),
    })
}
