//! Shows changes, and asks.

use std::io::{self, BufRead};

use super::answers::{Also, Answer, HELP};
use super::hunks::{End, Hunks, What};
use super::offer::Offer;
use crate::cli::args::{CommitArgs, ShowArgs};
use crate::cli::changes::diff::lines::{MOST_BYTES, are_texts};
use crate::cli::changes::out::{Color, Out};
use crate::cli::changes::quote::quoted;
use crate::control::wire::{ContentForm, DiffForm, PathBytes, Picked, Request, Side};
use crate::exit::Failure;

/// Who shows what a request asks for.
pub type Shower<'a> = &'a mut dyn FnMut(&Request, &mut Out<'_>) -> Result<(), Failure>;

/// Asks about one change after the other.
pub struct Dialogue<'a> {
    args: &'a CommitArgs,
    show: Shower<'a>,
    /// Nobody is asked any more.
    ended: bool,
}

impl<'a> Dialogue<'a> {
    pub fn new(args: &'a CommitArgs, show: Shower<'a>) -> Dialogue<'a> {
        Dialogue { args, show, ended: false }
    }

    /// What is picked of all these.
    ///
    /// # Errors
    /// Something cannot be shown.
    pub fn all(&mut self, offers: &[&Offer]) -> Result<Vec<Picked>, Failure> {
        let mut picked = Vec::new();
        for offer in offers {
            if self.ended {
                break;
            }
            let texts = if offer.in_parts { self.texts(offer)? } else { None };
            picked.extend(match texts {
                Some(texts) => self.by_hunks(offer, &texts)?,
                None => self.as_a_whole(offer)?,
            });
        }
        Ok(picked)
    }

    /// Both sides of a file, if they are texts.
    fn texts(&mut self, offer: &Offer) -> Result<Option<[Vec<u8>; 2]>, Failure> {
        let mut texts = [Vec::new(), Vec::new()];
        for (text, side) in texts.iter_mut().zip([Side::Before, Side::After]) {
            let form = ContentForm {
                path: PathBytes(offer.path()),
                deleted: false,
                side,
                most: u64::MAX,
                beginning: 0,
            };
            let mut out = Out::into_program(text);
            (self.show)(&Request::Content(form), &mut out)?;
            out.finish()?;
        }
        let small = texts.iter().all(|text| text.len() as u64 <= MOST_BYTES);
        let [before, after] = &texts;
        Ok((small && before != after && are_texts(&texts)).then_some(texts))
    }

    fn as_a_whole(&mut self, offer: &Offer) -> Result<Option<Picked>, Failure> {
        let mut out = self.out();
        let path = offer.path();
        let title = [offer.kind.as_bytes(), b" ", &*quoted(&path), b"\n"].concat();
        out.put_colored(Color::Bold, &title);
        if !offer.is_dir() {
            let (within, colored) = (vec![PathBytes(path)], out.is_colored());
            let form = DiffForm { within, colored, ..DiffForm::default() };
            (self.show)(&Request::Diff(form), &mut out)?;
        } else {
            for word in offer.attributes() {
                out.put(format!("{word}\n").as_bytes());
            }
        }
        out.finish()?;
        loop {
            let goes = match self.ask("Commit this change", Also::default())? {
                Answer::Yes | Answer::All => true,
                Answer::No | Answer::Done | Answer::Quit => false,
                _ => continue,
            };
            return Ok(goes.then(|| offer.picked(None)));
        }
    }

    fn by_hunks(&mut self, offer: &Offer, texts: &[Vec<u8>; 2]) -> Result<Option<Picked>, Failure> {
        let attributes = offer.attributes();
        let mut hunks = Hunks::new(texts, !attributes.is_empty());
        let mut out = self.out();
        let name = |before: &[u8]| quoted(&[before, &*offer.path()].concat()).into_owned();
        let head = [b"--- ", &*name(b"a/"), b"\n+++ ", &*name(b"b/"), b"\n"].concat();
        out.put_colored(Color::Bold, &head);
        out.finish()?;
        while let Some((number, hunk)) = hunks.current() {
            let mut out = self.out();
            let what = match &hunk.what {
                What::Attributes => {
                    out.put(format!("{}\n", attributes.join("\n")).as_bytes());
                    "these attributes"
                }
                What::Lines(range) => {
                    hunks.lines.write_group(range.clone(), &mut out);
                    "this hunk"
                }
            };
            out.finish()?;
            let also =
                Also { next: hunks.has(true), back: hunks.has(false), split: hunks.can_split() };
            let question = format!("({number}/{}) Commit {what}", hunks.list.len());
            match self.ask(&question, also)? {
                Answer::Yes => hunks.decide(true, false),
                Answer::No => hunks.decide(false, false),
                Answer::All => hunks.decide(true, true),
                Answer::Done => hunks.decide(false, true),
                Answer::Quit => break,
                Answer::Next => drop(hunks.go_on()),
                Answer::Back => drop(hunks.go_back()),
                Answer::Split => hunks.split(),
                Answer::Help => {}
            }
        }
        Ok(match hunks.end() {
            End::Nothing => None,
            End::Whole => Some(offer.picked(None)),
            End::Part(part) => Some(offer.picked(Some(part))),
        })
    }

    /// Who says nothing any more has quit.
    fn ask(&mut self, question: &str, also: Also) -> Result<Answer, Failure> {
        say(self.args, &format!("{question} [{}]? ", also.letters()))?;
        let mut typed = String::new();
        let read = io::stdin().lock().read_line(&mut typed);
        let answer = match read {
            Ok(0) | Err(_) => Answer::Quit,
            Ok(_) => also.read(&typed),
        };
        if read.is_ok_and(|len| len == 0) {
            say(self.args, "\n")?;
        }
        self.ended |= answer == Answer::Quit;
        if answer == Answer::Help {
            say(self.args, HELP)?;
        }
        Ok(answer)
    }

    fn out(&self) -> Out<'static> {
        out(self.args)
    }
}

/// A pager would take what is typed.
fn out(args: &CommitArgs) -> Out<'static> {
    Out::new(&ShowArgs { color: args.show.color, no_pager: true }, false)
}

/// Says something where changes are shown.
///
/// # Errors
/// It cannot be written.
pub fn say(args: &CommitArgs, text: &str) -> Result<(), Failure> {
    let mut out = out(args);
    out.put(text.as_bytes());
    out.finish()
}
