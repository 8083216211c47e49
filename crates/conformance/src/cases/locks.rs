//! Locks survive the copy-up.

use std::io::{Read, Write};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::kit::{Outcome, Place, append, ensure, open, open_rw, refused, write_at};
use crate::sys::{Owner, lock, spawn, wait_until};

super::cases!("locks";
    process_locks_survive, open_file_locks_survive, shared_flock_survives,
    exclusive_flock_survives, a_waiting_lock_is_granted, locks_end_with_their_process,
    locks_survive_a_rename, locks_survive_a_cache_drop,
);

fn process_locks_survive(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    lock(&held, Owner::Process, false)?;
    // Another process: a process does not conflict with itself, and closing a
    // descriptor of the file would drop its locks.
    spawn(|| {
        append(place.at("f"), b"x")?;
        let other = open_rw(place.at("f"))?;
        refused(lock(&other, Owner::Process, true), Errno::AGAIN)?;
        Ok(lock(&other, Owner::Process, false)?)
    })?
    .join()
}

fn open_file_locks_survive(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    lock(&held, Owner::OpenFile, false)?;
    let other = open_rw(place.at("f"))?;
    write_at(place.at("f"), 0, b"x")?;
    refused(lock(&other, Owner::OpenFile, true), Errno::AGAIN)?;
    drop(held);
    Ok(lock(&other, Owner::OpenFile, true)?)
}

fn shared_flock_survives(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    flock(&held, FlockOperation::NonBlockingLockShared)?;
    write_at(place.at("f"), 0, b"x")?;
    let other = open_rw(place.at("f"))?;
    refused(flock(&other, FlockOperation::NonBlockingLockExclusive), Errno::WOULDBLOCK)?;
    flock(&other, FlockOperation::NonBlockingLockShared)?;
    drop(held);
    Ok(flock(&other, FlockOperation::NonBlockingLockExclusive)?)
}

fn exclusive_flock_survives(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    write_at(place.at("f"), 0, b"x")?;
    let other = open(place.at("f"))?;
    refused(flock(&other, FlockOperation::NonBlockingLockShared), Errno::WOULDBLOCK)
}

fn a_waiting_lock_is_granted(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    let (mut waits, mut says) = std::io::pipe()?;
    let waiter = spawn(|| {
        let other = open_rw(place.at("f"))?;
        says.write_all(b"!")?;
        flock(&other, FlockOperation::LockExclusive)?;
        Ok(())
    })?;
    waits.read_exact(&mut [0])?;
    std::thread::sleep(Duration::from_millis(20));
    write_at(place.at("f"), 0, b"x")?;
    flock(&held, FlockOperation::Unlock)?;
    waiter.join()
}

fn locks_end_with_their_process(place: &Place) -> Outcome {
    spawn(|| {
        let held = open(place.at("f"))?;
        lock(&held, Owner::Process, false)?;
        flock(&held, FlockOperation::LockShared)?;
        append(place.at("g"), b"x")?;
        Ok(())
    })?
    .join()?;
    let other = open_rw(place.at("f"))?;
    // The last descriptor may be released a little after the process.
    let free = || flock(&other, FlockOperation::NonBlockingLockExclusive).is_ok();
    ensure(wait_until(Duration::from_secs(2), free), "flock is still held")?;
    Ok(lock(&other, Owner::Process, true)?)
}

fn locks_survive_a_rename(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    lock(&held, Owner::OpenFile, false)?;
    std::fs::rename(place.at("f"), place.at("dir/moved"))?;
    let other = open_rw(place.at("dir/moved"))?;
    refused(lock(&other, Owner::OpenFile, true), Errno::AGAIN)
}

fn locks_survive_a_cache_drop(place: &Place) -> Outcome {
    let held = open(place.at("f"))?;
    lock(&held, Owner::OpenFile, false)?;
    flock(&held, FlockOperation::NonBlockingLockShared)?;
    append(place.at("f"), b"x")?;
    place.drop_caches()?;
    let other = open_rw(place.at("f"))?;
    refused(lock(&other, Owner::OpenFile, true), Errno::AGAIN)?;
    refused(flock(&other, FlockOperation::NonBlockingLockExclusive), Errno::WOULDBLOCK)
}
