//! Questions on a terminal.

use std::io::{self, BufRead, IsTerminal, Write};

/// There is a terminal, to ask and to answer.
pub fn can_be_asked() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether the answer is yes. Who cannot answer says no.
pub fn ask(question: &str) -> bool {
    let mut err = io::stderr();
    let asked = write!(err, "{question} [y/N] ");
    let mut answer = String::new();
    if asked.and_then(|()| err.flush()).is_err()
        || io::stdin().lock().read_line(&mut answer).is_err()
    {
        return false;
    }
    matches!(answer.trim(), "y" | "Y" | "yes")
}
