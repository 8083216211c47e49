//! The journal of a commit as text: one line each for its beginning, what it comes to, and
//! how far it has come (docs/FORMAT.md, section 14).

use super::{
    CommitProgram, CommitState, Dress, Head, Journal, Path, Seen, Slot, StagePlace, Step, Token,
};
use crate::format::meta::{
    Parsed, escape, narrow, number, parse_print, print_text, time_text, timestamp, unescape,
};
use crate::format::print::Hash;

/// The first line, where the one stage is in the root of the base.
const MAGIC: &[u8] = b"mini_fo commit 1";

/// The same, where the second line tells where stages are. Versions that know nothing of that
/// refuse it.
const MAGIC_PLACES: &[u8] = b"mini_fo commit 2";

/// Most stages of a commit.
const MOST_STAGES: usize = 4096;

/// Why a journal cannot be used: the number of the line, counted from 1, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A journal in its first state: with a program [`CommitState::Ready`], without one
/// [`CommitState::Staging`].
#[must_use]
pub fn write(head: &Head, program: Option<&CommitProgram>) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, head);
    let Some(program) = program else { return out };
    program.steps.iter().for_each(|step| write_step(&mut out, step));
    program.tops.iter().for_each(|path| line(&mut out, &[b"o", &rooted(path)]));
    program.kept.iter().for_each(|path| line(&mut out, &[b"k", &rooted(path)]));
    for (path, print) in &program.renewed {
        line(&mut out, &[b"r", print_text(print).as_bytes(), &rooted(path)]);
    }
    for (slot, made) in &program.made {
        line(&mut out, &[format!("n {} {}", slot_text(*slot), seen(made)).as_bytes()]);
    }
    for (slot, newest) in &program.trees {
        line(&mut out, &[format!("w {} {}", slot_text(*slot), time_text(*newest)).as_bytes()]);
    }
    for (path, time) in &program.times_back {
        line(&mut out, &[b"b", &rooted(path), time_text(*time).as_bytes()]);
    }
    let hash = token(Token(Hash::of(&out)));
    line(&mut out, &[b"e", hash.as_bytes()]);
    out
}

fn write_head(out: &mut Vec<u8>, head: &Head) {
    let mut fields = vec![b"h".to_vec(), token(head.token).into_bytes()];
    if let [StagePlace { time, .. }] = &*head.stages
        && head.stages.iter().all(StagePlace::is_root)
    {
        line(out, &[MAGIC]);
        fields.push(time_text(*time).into_bytes());
    } else {
        line(out, &[MAGIC_PLACES]);
        for StagePlace { dir, mount, time } in &head.stages {
            fields.extend([time_text(*time).into_bytes(), rooted(dir), rooted(mount)]);
        }
    }
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    line(out, &fields);
}

/// The line that says that a commit has come so far.
#[must_use]
pub fn state_line(state: CommitState) -> Vec<u8> {
    let mut out = Vec::new();
    line(&mut out, &[b"=", word(state)]);
    out
}

fn word(state: CommitState) -> &'static [u8] {
    match state {
        CommitState::Staging => b"staging",
        CommitState::Ready => b"ready",
        CommitState::Taken => b"taken",
        CommitState::Done => b"done",
        CommitState::BackPut => b"back-put",
        CommitState::BackTake => b"back-take",
    }
}

fn token(token: Token) -> String {
    format!("{:032x}", u128::from_be_bytes(token.0.0))
}

fn line(out: &mut Vec<u8>, fields: &[&[u8]]) {
    out.extend_from_slice(&fields.join(&b' '));
    out.push(b'\n');
}

fn rooted(path: &[u8]) -> Vec<u8> {
    [b"/", &*escape(path)].concat()
}

fn slot_text(slot: Slot) -> String {
    match slot {
        Slot { stage: 0, number } => number.to_string(),
        Slot { stage, number } => format!("{stage}:{number}"),
    }
}

fn seen(was: &Seen) -> String {
    let Seen { ino, mode, owner: (uid, gid), size, .. } = was;
    format!("{ino} {mode:o} {uid} {gid} {size} {}", time_text(was.mtime))
}

fn write_step(out: &mut Vec<u8>, step: &Step) {
    let path = rooted(step.at());
    match step {
        Step::Take { slot, was, .. } => {
            line(out, &[format!("t {} {}", slot_text(*slot), seen(was)).as_bytes(), &path]);
        }
        Step::Put { slot, .. } => line(out, &[format!("p {}", slot_text(*slot)).as_bytes(), &path]),
        Step::Swap { slot, was, .. } => {
            line(out, &[format!("s {} {}", slot_text(*slot), seen(was)).as_bytes(), &path]);
        }
        Step::Dress { before, after, .. } => {
            let mut fields = vec![b"d".to_vec(), path];
            for side in [before, after] {
                let Dress { mode, uid, gid, xattrs } = side;
                fields.push(format!("{mode:04o} {uid} {gid} {}", xattrs.len()).into_bytes());
                for (name, value) in xattrs {
                    fields.push(escape(name));
                    fields.push(match value {
                        Some(value) => [b"+", &*escape(value)].concat(),
                        None => b"-".to_vec(),
                    });
                }
            }
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            line(out, &fields);
        }
        Step::Time { after, before, .. } => {
            let after = time_text(*after);
            match before {
                Some((old, time)) => {
                    let time = time_text(*time);
                    line(out, &[b"m", &path, after.as_bytes(), &rooted(old), time.as_bytes()]);
                }
                None => line(out, &[b"m", &path, after.as_bytes()]),
            }
        }
    }
}

/// Reads a journal. What a crash has left of its last line does not count.
///
/// # Errors
/// It is none, or damaged.
pub fn parse(text: &[u8]) -> Result<Journal, Damaged> {
    let mut reader = Reader { journal: None, places: false, ended: false };
    let (mut at, mut number) = (0, 0);
    while let Some(len) = text.get(at..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
        number += 1;
        let before = text.get(..at).unwrap_or_default();
        let line = text.get(at..at + len).unwrap_or_default();
        let read = match number {
            1 if line == MAGIC => Ok(()),
            1 if line == MAGIC_PLACES => {
                reader.places = true;
                Ok(())
            }
            1 => Err("it is no journal of a commit that this version can read"),
            _ => reader.line(line, before),
        };
        read.map_err(|reason| Damaged { line: number, reason })?;
        at += len + 1;
    }
    let journal = reader.journal.ok_or(Damaged { line: number + 1, reason: "it has no beginning" });
    journal.map(|journal| match reader.ended {
        true => journal,
        // It was being written.
        false => Journal { program: CommitProgram::default(), ..journal },
    })
}

struct Reader {
    journal: Option<Journal>,
    /// Its beginning tells where stages are.
    places: bool,
    /// All of the program is there.
    ended: bool,
}

impl Reader {
    fn line(&mut self, line: &[u8], before: &[u8]) -> Parsed<()> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut field = || fields.next().ok_or("a field is missing");
        let letter = field()?;
        let Some(journal) = &mut self.journal else {
            if letter != b"h" {
                return Err("it has no beginning");
            }
            let head = parse_head(self.places, &mut field)?;
            let (state, program) = (CommitState::Staging, CommitProgram::default());
            self.journal = Some(Journal { head, state, program });
            return Ok(());
        };
        if self.ended {
            if letter != b"=" {
                return Err("there is something behind its end");
            }
            journal.state = state(field()?)?;
            return Ok(());
        }
        match letter {
            b"o" => journal.program.tops.push(path(field()?)?),
            b"k" => journal.program.kept.push(path(field()?)?),
            b"r" => {
                let print = parse_print(&mut field)?;
                journal.program.renewed.push((path(field()?)?, print));
            }
            b"n" => {
                let slot = slot(field()?, journal.head.stages.len())?;
                journal.program.made.push((slot, parse_seen(&mut field)?));
            }
            b"w" => {
                let slot = slot(field()?, journal.head.stages.len())?;
                journal.program.trees.push((slot, timestamp(field()?)?));
            }
            b"b" => journal.program.times_back.push((path(field()?)?, timestamp(field()?)?)),
            b"e" => {
                if parse_token(field()?)? != Token(Hash::of(before)) {
                    return Err("its hash is another one");
                }
                (self.ended, journal.state) = (true, CommitState::Ready);
            }
            letter => {
                let stages = journal.head.stages.len();
                journal.program.steps.push(step((letter, stages), &mut field)?);
            }
        }
        Ok(())
    }
}

fn state(field: &[u8]) -> Parsed<CommitState> {
    let all = [
        CommitState::Staging,
        CommitState::Ready,
        CommitState::Taken,
        CommitState::Done,
        CommitState::BackPut,
        CommitState::BackTake,
    ];
    all.into_iter().find(|state| word(*state) == field).ok_or("a state is unknown")
}

fn parse_token(field: &[u8]) -> Parsed<Token> {
    let malformed = "a hash is malformed";
    let text = std::str::from_utf8(field).map_err(|_| malformed)?;
    let number = u128::from_str_radix(text, 16).map_err(|_| malformed)?;
    Ok(Token(Hash(number.to_be_bytes())))
}

fn path(field: &[u8]) -> Parsed<Path> {
    let path = unescape(field.strip_prefix(b"/").ok_or("a path is malformed")?)?;
    let odd = |name: &[u8]| matches!(name, b"" | b"." | b"..") || name.contains(&0);
    if !path.is_empty() && path.split(|byte| *byte == b'/').any(odd) {
        return Err("a path is malformed");
    }
    Ok(path.into())
}

fn parse_head<'a>(places: bool, field: &mut impl FnMut() -> Parsed<&'a [u8]>) -> Parsed<Head> {
    let token = parse_token(field()?)?;
    let mut stages = Vec::new();
    if !places {
        stages.push(StagePlace { time: timestamp(field()?)?, ..StagePlace::default() });
        return Ok(Head { token, stages });
    }
    while let Ok(time) = field() {
        let (time, dir, mount) = (timestamp(time)?, path(field()?)?, path(field()?)?);
        let one = StagePlace { dir, mount, time };
        if stages.iter().any(|known: &StagePlace| known.mount == one.mount) {
            return Err("a mount has two stages");
        }
        if !is_within(&one.dir, &one.mount) {
            return Err("a stage does not lie in its mount");
        }
        stages.push(one);
        if stages.len() > MOST_STAGES {
            return Err("it has too many stages");
        }
    }
    if stages.is_empty() { Err("it has no stage") } else { Ok(Head { token, stages }) }
}

fn is_within(path: &[u8], top: &[u8]) -> bool {
    let rest = path.strip_prefix(top);
    top.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `stages`: so many there are.
fn step<'a>(
    (letter, stages): (&[u8], usize),
    field: &mut impl FnMut() -> Parsed<&'a [u8]>,
) -> Parsed<Step> {
    Ok(match letter {
        b"t" => {
            let (slot, was) = (slot(field()?, stages)?, parse_seen(field)?);
            Step::Take { slot, was, at: path(field()?)? }
        }
        b"p" => Step::Put { slot: slot(field()?, stages)?, at: path(field()?)? },
        b"s" => {
            let (slot, was) = (slot(field()?, stages)?, parse_seen(field)?);
            Step::Swap { slot, was, at: path(field()?)? }
        }
        b"d" => {
            let at = path(field()?)?;
            Step::Dress { at, before: dress(field)?, after: dress(field)? }
        }
        b"m" => {
            let (at, after) = (path(field()?)?, timestamp(field()?)?);
            let before = match field() {
                Ok(old) => Some((path(old)?, timestamp(field()?)?)),
                Err(_) => None,
            };
            Step::Time { at, after, before }
        }
        _ => return Err("a step is unknown"),
    })
}

fn slot(field: &[u8], stages: usize) -> Parsed<Slot> {
    let mut parts = field.split(|byte| *byte == b':');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let (stage, name) = second.map_or((&b"0"[..], first), |name| (first, name));
    let stage = number(stage, 10)?;
    if parts.next().is_some() || usize::try_from(stage).is_ok_and(|stage| stage >= stages) {
        return Err("a slot is in no stage");
    }
    let stage = u16::try_from(stage).map_err(|_| "a slot is in no stage")?;
    Ok(Slot { stage, number: narrow(number(name, 10)?)? })
}

fn parse_seen<'a>(field: &mut impl FnMut() -> Parsed<&'a [u8]>) -> Parsed<Seen> {
    Ok(Seen {
        ino: number(field()?, 10)?,
        mode: narrow(number(field()?, 8)?)?,
        owner: (narrow(number(field()?, 10)?)?, narrow(number(field()?, 10)?)?),
        size: number(field()?, 10)?,
        mtime: timestamp(field()?)?,
        ctime: None,
    })
}

fn dress<'a>(field: &mut impl FnMut() -> Parsed<&'a [u8]>) -> Parsed<Dress> {
    let mode = narrow(number(field()?, 8)?)?;
    let (uid, gid) = (narrow(number(field()?, 10)?)?, narrow(number(field()?, 10)?)?);
    let mut xattrs = Vec::new();
    for _ in 0..number(field()?, 10)? {
        let name = unescape(field()?)?.into();
        let value = match field()? {
            b"-" => None,
            value => {
                Some(unescape(value.strip_prefix(b"+").ok_or("a value is malformed")?)?.into())
            }
        };
        xattrs.push((name, value));
    }
    Ok(Dress { mode, uid, gid, xattrs })
}
