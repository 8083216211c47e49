//! Bases made of random layers of all dialects, written as their documents say, and what
//! they are to show together by a merge that knows nothing of the overlay.

#[path = "stacks/merge.rs"]
mod merge;
#[path = "stacks/write.rs"]
mod write;

use std::path::{Path as FsPath, PathBuf};

use mini_fo_core::{DialectName, LayerOptions, MetaName};

use super::driver::Driver;
use super::naive::Naive;
use super::ops::Op;
use super::tree::Dice;
use merge::{ShownDir, merged_root};
use write::Writer;

/// How a layer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Plain,
    Overlay,
    OverlayUser,
    Oci,
    MiniFo(MetaName),
}

impl Speech {
    fn dialect(self) -> DialectName {
        match self {
            Speech::Plain => DialectName::Plain,
            Speech::Overlay => DialectName::Overlay,
            Speech::OverlayUser => DialectName::OverlayUser,
            Speech::Oci => DialectName::Oci,
            Speech::MiniFo(meta) => DialectName::MiniFo(Some(meta)),
        }
    }

    fn draw(dice: &mut Dice) -> Speech {
        let is_root = rustix::process::geteuid().is_root();
        match dice.below(8) {
            0 => Speech::Plain,
            1 | 2 if is_root => Speech::Overlay,
            1..=3 => Speech::OverlayUser,
            4 | 5 => Speech::Oci,
            6 => Speech::MiniFo(MetaName::DEFAULT),
            _ => Speech::MiniFo(MetaName::new("META").unwrap()),
        }
    }
}

/// Most layers above the lowest, which is plain.
const MOST: u64 = 5;

/// How often a layer is drawn again that shows one directory under two names.
const ATTEMPTS: u64 = 20;

/// Layers in `work`, the uppermost first, and the model of what they show.
pub fn make_stack(work: &FsPath, seed: u64) -> (Vec<LayerOptions>, Naive) {
    let mut dice = Dice::new(seed);
    let (mut layers, mut view): (Vec<LayerOptions>, Option<ShownDir>) = (Vec::new(), None);
    for number in 0..2 + dice.below(MOST) {
        let speech = if number == 0 { Speech::Plain } else { Speech::draw(&mut dice) };
        for attempt in 0..=ATTEMPTS {
            let path = work.join(format!("layer{number}-{attempt}"));
            let redirects = attempt < ATTEMPTS;
            let says = Writer::new(speech, &mut dice, view.as_ref(), redirects).write(&path);
            let next = merged_root(&says, view.as_ref(), speech);
            if next.has_twins() {
                continue;
            }
            view = Some(next);
            let dialect = Some(speech.dialect());
            layers.insert(0, LayerOptions { path, dialect });
            break;
        }
    }
    let mut model = Naive::new();
    view.unwrap().enter(&mut model);
    (layers, model)
}

/// Runs operations on a stack that is drawn from a seed.
pub fn run(seed: u64, ops: &[Op]) -> Result<(), String> {
    let work = tempfile::tempdir().unwrap();
    let (layers, model) = make_stack(work.path(), seed);
    let dialects: Vec<_> = layers.iter().map(|layer| layer.dialect.unwrap()).collect();
    let told = |what: String| format!("{what}, layers {dialects:?}");
    let mut driver = Driver::over(work.path(), layers, seed, model);
    driver.apply(&Op::Verify).map_err(|what| told(format!("at first: {what}")))?;
    super::drive(&mut driver, ops).map_err(told)?;
    driver.finish().map_err(|what| told(format!("at the end: {what}")))
}

/// The path of a name in a directory.
fn joined(dir: &FsPath, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    dir.join(std::ffi::OsStr::from_bytes(name))
}
