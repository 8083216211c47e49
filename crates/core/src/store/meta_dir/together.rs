//! A change of storage names, and what META says of it: after a crash either
//! both have happened or neither has.

use super::MetaEdit;
use super::changes::Savepoint;
use crate::format::meta::Record;
use crate::sys::Result;

/// In place of a number: whatever object the name leads to.
pub(crate) const ANY: u64 = 0;

/// What a change of storage names means for META of one name.
pub(crate) struct Step<'a> {
    /// The directory.
    pub dir: &'a MetaEdit<'a>,
    /// The name.
    pub name: &'a [u8],
    /// The storage object that decides: the change has happened once `name`
    /// leads to the object of this `st_ino`, or to any ([`ANY`]) ...
    pub storage_ino: u64,
    /// ... or, where this is `false`, does not any more.
    pub arrives: bool,
    /// What holds then; all about `name`.
    pub records: Vec<Record>,
    /// What its change is made from, which holds in any case.
    pub print: Option<Record>,
}

impl Step<'_> {
    fn conditions(&self) -> impl Iterator<Item = Record> {
        let (arrived, storage_ino) = (self.arrives, self.storage_ino);
        let when = move |record: &Record| {
            let record = Box::new(record.clone());
            Record::When { arrived, storage_ino, record }
        };
        self.records.iter().map(when)
    }

    fn results(&self) -> Vec<Record> {
        let settled = Record::Settled { name: self.name.into() };
        self.records.iter().cloned().chain([settled]).collect()
    }
}

/// Runs a change of storage names, which must happen at once or not at all:
/// one call of rename(2) or its like.
///
/// META gets the records under the condition that it happens, then it is tried,
/// and then META is told the result. A crash in between leaves the conditions,
/// and the next reader sees from the names whether they are met. The records
/// of the condition reach the device before the change.
///
/// # Errors
/// Those of `change` and of writing META before it; all is as it was then. What
/// cannot be written afterwards is owed ([`MetaEdit::append_late`]).
pub(crate) fn together<T>(steps: &[Step<'_>], change: impl FnOnce() -> Result<T>) -> Result<T> {
    // What META is owed was decided by the names as they are now. (A name that goes
    // can make nothing hold that says more than that it is gone.)
    steps.iter().filter(|step| step.arrives).try_for_each(|step| step.dir.pay())?;
    let secured = || steps.iter().try_for_each(|step| step.dir.secure());
    let steps: Vec<&Step<'_>> = steps.iter().filter(|step| !step.records.is_empty()).collect();
    if steps.is_empty() {
        return secured().and_then(|()| change());
    }
    let mut savepoints: Vec<(&MetaEdit<'_>, Savepoint)> = Vec::with_capacity(2);
    let announced = announce(&steps, &mut savepoints).and_then(|()| secured());
    match announced.and_then(|()| change()) {
        Ok(value) => {
            for (dir, _) in &savepoints {
                let own = steps.iter().filter(|step| std::ptr::eq(step.dir, *dir));
                dir.append_late(own.flat_map(|step| step.results()).collect());
            }
            Ok(value)
        }
        Err(errno) => {
            for (dir, savepoint) in savepoints {
                dir.roll_back(savepoint);
            }
            Err(errno)
        }
    }
}

/// Writes the conditions, each directory's at once.
fn announce<'a>(
    steps: &[&Step<'a>],
    savepoints: &mut Vec<(&'a MetaEdit<'a>, Savepoint)>,
) -> Result<()> {
    for step in steps {
        if savepoints.iter().any(|(dir, _)| std::ptr::eq(*dir, step.dir)) {
            continue;
        }
        let own = || steps.iter().filter(|other| std::ptr::eq(other.dir, step.dir));
        let names: Vec<&[u8]> = own().map(|step| step.name).collect();
        savepoints.push((step.dir, step.dir.savepoint(&names)?));
        let prints = own().filter_map(|step| step.print.clone());
        let records: Vec<Record> = prints.chain(own().flat_map(|step| step.conditions())).collect();
        step.dir.append(&records)?;
    }
    Ok(())
}
