//! What was found: a line for each bad point, and how many there are of each
//! kind.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::calls::Call;

/// One interrupted run.
#[derive(Clone, Debug)]
pub struct Point {
    /// kill, EIO, ...
    pub what: &'static str,
    pub scenario: &'static str,
    pub transport: &'static str,
    /// The storage call, counted from 1.
    pub at: usize,
    /// None: after the last one.
    pub call: Option<Call>,
}

/// Where the points of one scenario are told.
pub struct Judge<'a> {
    pub report: &'a Report,
    pub scenario: &'static str,
    pub transport: &'static str,
    /// Is told of each bad point.
    pub keep: &'a dyn Fn(&Point),
}

impl Judge<'_> {
    /// Tells what came of one point.
    pub fn tell(
        &self,
        what: &'static str,
        at: usize,
        call: Option<Call>,
        outcome: Result<(), String>,
    ) {
        let (scenario, transport) = (self.scenario, self.transport);
        match outcome {
            Ok(()) => self.report.passed(),
            Err(wrong) => {
                let point = Point { what, scenario, transport, at, call };
                self.report.failed(&point, &wrong);
                (self.keep)(&point);
            }
        }
    }
}

/// All points so far.
#[derive(Default)]
pub struct Report(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    kinds: BTreeMap<(String, &'static str), usize>,
}

impl Report {
    /// Nothing was wrong.
    fn passed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).passed += 1;
    }

    /// Something was; it is printed at once.
    fn failed(&self, point: &Point, wrong: &str) {
        let call = match &point.call {
            Some(call) => format!("{} {}", call.name, call.path),
            None => "the end".to_owned(),
        };
        let Point { what, scenario, transport, at, .. } = point;
        println!("BAD {what} {scenario} at {at} ({call}) [{transport}]\n      {wrong}");
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.failed += 1;
        let call = point.call.as_ref().map_or("the end", |call| call.name);
        *counts.kinds.entry((format!("{what} {scenario}"), call)).or_default() += 1;
    }

    /// Prints how many of each kind there are, and whether all is well.
    pub fn finish(&self) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = "";
        for ((what, call), count) in &counts.kinds {
            if last != what {
                print!("{}{what}:", if last.is_empty() { "" } else { "\n" });
            }
            print!(" {call} {count}");
            last = what;
        }
        if !last.is_empty() {
            println!();
        }
        println!("{} passed, {} failed", counts.passed, counts.failed);
        counts.failed == 0
    }
}
