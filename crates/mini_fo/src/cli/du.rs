//! `mini_fo du`.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::io::{self, BufRead};
use std::path::Path;

use rustix::io::Errno;

use crate::cli::args::DuArgs;
use crate::cli::changes::out::size;
use crate::cli::json;
use crate::control::client::{self, Channel};
use crate::control::wire::{PathBytes, Request};
use crate::exit::{Failure, code, shown};
use crate::request;
use crate::serve;
use crate::usage::{Row, Sum, Usage, Wanted};

/// Prints what a storage holds.
///
/// # Errors
/// It cannot be read.
pub fn run(args: &DuArgs) -> Result<(), Failure> {
    let usage = look(args)?;
    let text = if args.json { json(&usage) } else { table(&usage) };
    super::print(&text)
}

fn look(args: &DuArgs) -> Result<Usage, Failure> {
    let mut wanted = Wanted { depth: args.depth, largest: args.largest, ..Wanted::default() };
    let place = &args.place;
    let failed =
        |error: io::Error| Failure::new(code::FAILURE, format!("{}: {error}", place.display()));
    match Channel::open(place) {
        Ok((channel, info)) => {
            let inside = info.path.0.strip_prefix(b"/").unwrap_or_default();
            wanted.within = PathBytes(inside.to_vec());
            let mut line = String::new();
            let asked = channel.ask(&Request::Usage(wanted));
            asked.and_then(|mut answer| answer.read_line(&mut line)).map_err(failed)?;
            if let Some(trouble) = client::trouble(&line) {
                return Err(Failure::new(code::STORAGE, trouble.trouble));
            }
            serde_json::from_str(&line).map_err(|error| failed(error.into()))
        }
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTTY) => {
            at_rest(place, args, &wanted)
        }
        Err(error) => Err(failed(error)),
    }
}

fn at_rest(place: &Path, args: &DuArgs, wanted: &Wanted) -> Result<Usage, Failure> {
    let meta_name = args.meta_name.as_deref().map(request::meta_name).transpose()?;
    Usage::at_rest(place, meta_name.unwrap_or_default(), wanted).map_err(serve::refusal)
}

/// What is not in the tree, as it is called for people and for programs.
fn beside(usage: &Usage) -> [(&'static str, &'static str, Sum); 5] {
    [
        ("hard links of the base", "hard_links", usage.hard_links),
        ("records (META)", "records", usage.records),
        ("kept for deletions", "reserve", usage.reserve),
        ("left by what was interrupted", "leftovers", usage.leftovers),
        ("deleted, and still open", "deleted", usage.deleted),
    ]
}

fn table(usage: &Usage) -> String {
    let mut out = String::new();
    let mut line = |bytes: u64, text: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:>10}  {text}", size(bytes));
    };
    for Row { path, sum } in usage.entries.iter().chain(&usage.largest) {
        line(sum.bytes, &shown(&String::from_utf8_lossy(&path.0)));
    }
    for (text, _, sum) in beside(usage).iter().filter(|(.., sum)| sum.bytes > 0) {
        line(sum.bytes, &format!("({text})"));
    }
    let Sum { files, directories, .. } = usage.tree;
    let free = size(usage.free);
    line(
        usage.bytes(),
        &format!("in all: {files} files, {directories} directories; {free} are free"),
    );
    out
}

fn json(usage: &Usage) -> String {
    let sum = |Sum { bytes, files, directories, .. }: &Sum| {
        format!("\"bytes\":{bytes},\"files\":{files},\"directories\":{directories}")
    };
    let rows = |rows: &[Row]| {
        let row = |row: &Row| format!("{{{},{}}}", json::bytes("path", &row.path.0), sum(&row.sum));
        rows.iter().map(row).collect::<Vec<_>>().join(",")
    };
    let mut out = format!(
        "{{\"entries\":[{}],\"largest\":[{}],\"tree\":{{{}}},\"bytes\":{},\"free\":{}",
        rows(&usage.entries),
        rows(&usage.largest),
        sum(&usage.tree),
        usage.bytes(),
        usage.free
    );
    for (_, name, part) in beside(usage) {
        // Writing to a string does not fail.
        let _ = write!(out, ",\"{name}\":{{{}}}", sum(&part));
    }
    out + "}\n"
}
