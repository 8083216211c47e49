//! The power is cut below base and storage while a command runs, and again while it is finished
//! or taken back.
//!
//! Both are on one disk, or each on its own: then nothing that is ordered on one is in order
//! with what is on the other, but by what the command waits for.

use std::path::Path;

use super::Options;
use super::case::{Before, Case, Expected, Verdict, text};
use super::disks::{Disks, Images};
use crate::cuts::dice::Dice;
use crate::cuts::image::FsKind;
use crate::stop;
use crate::supervisor::Plan;

/// Cuts of one run.
const CUTS_OF_ONE: usize = 5;

/// So many of a hundred are followed by a cut of what finishes the command.
const TWICE: usize = 30;

/// A tree with changes on disks.
struct Bench<'a> {
    disks: &'a Disks,
    case: Case,
    ready: Images,
    before: Before,
    expected: Expected,
}

/// Makes the cuts on one kind of file system; how many were good and bad.
///
/// # Errors
/// It has none.
pub fn all(options: &Options, kind: FsKind, dir: &Path) -> std::io::Result<(usize, usize)> {
    let mut disks = Disks::new(kind, dir, options.lie)?;
    let (mut good, mut bad, mut seed) = (0, 0, options.seed);
    while good + bad < options.cuts && !stop::asked() {
        disks.with(seed.is_multiple_of(2));
        let about = format!("{} {} --seed {seed}", kind.name(), options.what().name());
        let left = CUTS_OF_ONE.min(options.cuts - good - bad);
        let outcomes = one(options, &disks, seed, left);
        let outcomes = match outcomes {
            // The directory that all is in is closed for times, too.
            Err(wrong) if options.deep && wrong.contains("chattr +i") => Vec::new(),
            outcomes => {
                outcomes.unwrap_or_else(|wrong| vec![Err(format!("without a cut: {wrong}"))])
            }
        };
        for (at, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(story) if options.verbose => println!("ok  {about}, cut {at}: {story}"),
                Ok(_) => {}
                Err(wrong) => println!("BAD {about}, cut {at}\n      {wrong}"),
            }
            *(if outcome.is_ok() { &mut good } else { &mut bad }) += 1;
        }
        seed += 1;
    }
    println!("{}: {good} cuts of a {} passed, {bad} failed", kind.name(), options.what().name());
    Ok((good, bad))
}

/// Some cuts of one run.
fn one(options: &Options, disks: &Disks, seed: u64, cuts: usize) -> Verdict<Vec<Verdict<String>>> {
    let case = Case::new(options.what(), disks.layers(), seed, options.how());
    let (ready, before) = disks.filled(|| case.prepare())?;
    let (recording, ended) = disks.recorded(&ready, || case.done())?;
    let expected = case.expected(&before, &ended)?;
    let bench = Bench { disks, case, ready, before, expected };
    let mut dice = Dice::new(seed ^ 0x63_7574);
    let mut left = Vec::new();
    for at in 0..cuts {
        left.push(disks.cut(&format!("cut{at}-"), &bench.ready, &recording, &mut dice));
    }
    // Two file systems cannot be mounted at one place.
    drop(recording);
    let each = left.into_iter().take_while(|_| !stop::asked());
    Ok(each
        .map(|left| {
            let mut left = left.map_err(text)?;
            let outcome = bench.look(left.images, left.ended, (&mut dice, &mut left.story));
            outcome.map(|()| left.story.clone()).map_err(|wrong| format!("{}: {wrong}", left.story))
        })
        .collect())
}

impl Bench<'_> {
    /// What a cut has left can be used; it may be cut again.
    fn look(
        &self,
        images: Images,
        ended: bool,
        (dice, story): (&mut Dice, &mut String),
    ) -> Verdict<()> {
        let again = dice.chance(TWICE);
        let images = if again { self.cut_again(images, dice, story)? } else { images };
        let mounted = self.disks.mounted(&images).map_err(text)?;
        let found = self.case.goes_on(&self.expected, &self.before, ended, (dice, story));
        drop(mounted);
        found
    }

    fn cut_again(&self, images: Images, dice: &mut Dice, story: &mut String) -> Verdict<Images> {
        let abort = self.case.what == super::case::What::Commit && dice.chance(50);
        let run = || self.case.command(abort, Plan::Count);
        let (recording, ended) = self.disks.recorded(&images, run)?;
        let left = self.disks.cut("again", &images, &recording, dice).map_err(text)?;
        let word = if abort { "--abort" } else { "again" };
        story.push_str(&format!(", {word} ({:?}) {}", ended.code, left.story));
        Ok(left.images)
    }
}
