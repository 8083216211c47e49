//! How far a commit is, on a terminal.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mini_fo_core::CommitProgress;

/// What takes no longer shows no bar.
const PATIENCE: Duration = Duration::from_millis(400);

/// A bar on standard error, if that is a terminal.
pub struct Bar {
    bar: ProgressBar,
    begun: Instant,
    shows: Cell<bool>,
    bytes: u64,
}

impl Bar {
    /// `quiet`: there is none. `bytes`: of content that will be written.
    pub fn new(quiet: bool, bytes: u64) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        let template = match bytes {
            0 => "[{bar:32}] {msg}",
            _ => "[{bar:32}] {bytes} of {total_bytes}, {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Bar { bar, begun: Instant::now(), shows: Cell::new(quiet), bytes }
    }

    /// So many bytes are copied; the rest is done at once.
    pub fn copied(&self, bytes: u64) {
        self.appear();
        self.bar.set_message("copying ahead of the commit");
        self.bar.set_position(bytes);
    }

    fn appear(&self) {
        if !self.shows.get() && self.begun.elapsed() >= PATIENCE {
            self.shows.set(true);
            // It stays hidden where there is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// So much is done.
    pub fn show(&self, progress: CommitProgress) {
        self.appear();
        let CommitProgress { done, all, bytes } = progress;
        self.bar.set_message(format!("step {done} of {all}"));
        if self.bytes == 0 {
            self.bar.set_length(all);
        }
        self.bar.set_position(if self.bytes == 0 { done } else { bytes });
    }

    /// Takes it away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
