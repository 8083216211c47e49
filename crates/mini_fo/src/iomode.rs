//! Which way the data of an open file goes: through the kernel's page cache
//! and the daemon (*cached*), or past the daemon (*passthrough*).
//!
//! The kernel wants one way per node at a time and answers a mixture with
//! EIO: while a cached open lives no passthrough one may come, and while a
//! passthrough one lives all others must name the same backing file. This is
//! the bookkeeping, without any I/O: a state per node, generic in what a
//! backing file is.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};

/// What an open asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Data lies in the storage for good, so passthrough is possible.
    pub backed: bool,
    /// Data lies in the base, and may be read past the daemon until somebody is to write it
    /// ([`Modes::start_writing`]).
    pub base: bool,
    /// It is to be written.
    pub writes: bool,
    /// Passthrough is not wanted (the file has setuid or setgid bits and is
    /// opened for writing, or its writer has rights of his own), unless the node is in that mode already.
    pub avoid: bool,
    /// The open can map memory for writing, which the kernel does not notice
    /// under passthrough.
    pub maps: bool,
}

/// How an open is answered; to be given back with [`Modes::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Through the page cache. `keep`: what it holds from earlier opens is
    /// still right.
    Cached {
        /// See above.
        keep: bool,
        /// Not through the page cache after all, but to the daemon each time:
        /// a mapping that passthrough has left may change the data.
        direct: bool,
    },
    /// To the node's backing file.
    Passthrough {
        /// [`Want::maps`] of the open.
        maps: bool,
    },
}

/// That a mapping may have been left: each time another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left(u64);

/// The states of all nodes that have one. `B` is a registered backing file.
pub struct Modes<B> {
    nodes: HashMap<u64, State<B>>,
    /// Nodes whose backing file no open uses, the oldest first. May name a
    /// node that has come into use again.
    idle: VecDeque<u64>,
    /// Most backing files that are kept for the next open.
    keep_idle: usize,
    /// Counts passthrough opens that could map and were closed.
    left: u64,
}

struct State<B> {
    cached: u32,
    passthrough: u32,
    mapping: u32,
    backing: Option<B>,
    /// That is the file of the base.
    base: bool,
    /// Those who are about to write.
    writers: u32,
    /// A passthrough open that can map was closed. Its mappings may live on:
    /// they are of the backing file, so the kernel has let go of ours.
    left: Option<Left>,
    /// The page cache may hold bytes from before a passthrough open.
    stale: bool,
    /// In the list of idle ones.
    listed: bool,
    /// The kernel has forgotten the node; what is open is being released.
    forgotten: bool,
}

impl<B> Default for State<B> {
    fn default() -> State<B> {
        State {
            cached: 0,
            passthrough: 0,
            mapping: 0,
            backing: None,
            base: false,
            writers: 0,
            left: None,
            stale: false,
            listed: false,
            forgotten: false,
        }
    }
}

impl<B> State<B> {
    /// Nothing would be lost by forgetting it.
    fn is_blank(&self) -> bool {
        let unused = self.cached == 0 && self.passthrough == 0 && self.left.is_none();
        unused && self.backing.is_none() && !self.stale && self.writers == 0
    }
}

/// Backing files that are to be given up, outside of any lock.
pub type Unused<B> = Vec<B>;

impl<B: Clone> Modes<B> {
    /// No node; at most `keep_idle` backing files are kept unused.
    pub fn new(keep_idle: usize) -> Modes<B> {
        Modes { nodes: HashMap::new(), idle: VecDeque::new(), keep_idle, left: 0 }
    }

    /// Answers an open of `node`. `register` is called at most once, to
    /// register a backing file where the node has none; `None` from it means
    /// that there can be none.
    pub fn open(
        &mut self,
        node: u64,
        want: Want,
        register: impl FnOnce() -> Option<B>,
    ) -> (Grant, Option<B>) {
        let state = self.nodes.entry(node).or_default();
        state.forgotten = false;
        let live = state.passthrough > 0;
        let possible = match live {
            true => !(state.base && want.writes),
            false => want.backed && !want.avoid || want.base && state.writers == 0,
        };
        if state.cached == 0 && possible {
            if state.backing.is_none() {
                state.backing = register();
                state.base = want.base;
            }
            if let Some(backing) = &state.backing {
                state.passthrough += 1;
                state.mapping += u32::from(want.maps);
                state.stale = true;
                return (Grant::Passthrough { maps: want.maps }, Some(backing.clone()));
            }
        }
        state.cached += 1;
        let direct = state.left.is_some();
        state.stale |= direct;
        (Grant::Cached { keep: !state.stale, direct }, None)
    }

    /// Somebody is about to write a node of the base, for as long as he has not called
    /// [`Modes::end_writing`]. `false`: it is being read past the daemon, which cannot be
    /// changed to another file.
    pub fn start_writing(&mut self, node: u64) -> (bool, Unused<B>) {
        let state = self.nodes.entry(node).or_default();
        if state.base && state.passthrough > 0 {
            return (false, Vec::new());
        }
        state.writers += 1;
        (true, state.backing.take_if(|_| state.base).into_iter().collect())
    }

    /// He has copied it up, or failed to.
    pub fn end_writing(&mut self, node: u64) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.writers = state.writers.saturating_sub(1);
            if state.is_blank() {
                drop(self.remove(node));
            }
        }
    }

    /// The node does not lie in the base (any more): what nobody reads there is given up.
    pub fn leave_base(&mut self, node: u64) -> Unused<B> {
        let state = self.nodes.get_mut(&node).filter(|state| state.passthrough == 0);
        state.and_then(|state| state.backing.take_if(|_| state.base)).into_iter().collect()
    }

    /// Takes an open back: the kernel has released it, or never got it.
    pub fn close(&mut self, node: u64, grant: Grant) -> Unused<B> {
        let Some(state) = self.nodes.get_mut(&node) else { return Vec::new() };
        match grant {
            Grant::Cached { keep, direct } => {
                state.cached = state.cached.saturating_sub(1);
                // The kernel emptied the page cache at this open, and no
                // passthrough open came since.
                state.stale &= keep || direct;
            }
            Grant::Passthrough { maps } => {
                state.passthrough = state.passthrough.saturating_sub(1);
                state.mapping = state.mapping.saturating_sub(u32::from(maps));
                if maps {
                    self.left += 1;
                    state.left = Some(Left(self.left));
                }
            }
        }
        if state.forgotten && state.cached == 0 && state.passthrough == 0 {
            return self.remove(node);
        }
        if state.passthrough == 0 && state.backing.is_some() && !state.listed {
            state.listed = true;
            self.idle.push_back(node);
        }
        if state.is_blank() {
            self.nodes.remove(&node);
        }
        self.trim()
    }

    /// The kernel has forgotten the node. Its last releases may still come:
    /// they travel by another queue.
    pub fn forget(&mut self, node: u64) -> Unused<B> {
        match self.nodes.get_mut(&node) {
            Some(state) if state.cached > 0 || state.passthrough > 0 => {
                state.forgotten = true;
                Vec::new()
            }
            Some(_) => self.remove(node),
            None => Vec::new(),
        }
    }

    fn remove(&mut self, node: u64) -> Unused<B> {
        let state = self.nodes.remove(&node);
        if state.as_ref().is_some_and(|state| state.listed) {
            self.idle.retain(|&idle| idle != node);
        }
        state.and_then(|state| state.backing).into_iter().collect()
    }

    /// Gives up all backing files that no open uses.
    pub fn let_go(&mut self) -> Unused<B> {
        let keep = std::mem::take(&mut self.keep_idle);
        let unused = self.trim();
        self.keep_idle = keep;
        unused
    }

    /// The node, which nobody has open for passthrough, has another storage file or none.
    pub fn change_object(&mut self, node: u64) -> Unused<B> {
        let Some(state) = self.nodes.get_mut(&node).filter(|state| state.passthrough == 0) else {
            return Vec::new();
        };
        // No mapping of the old one has been left, or it would be the same.
        state.left = None;
        let unused = state.backing.take().into_iter().collect();
        if state.is_blank() {
            drop(self.remove(node));
        }
        unused
    }

    /// Data of the node can change without the kernel's knowledge.
    pub fn is_mapped(&self, node: u64) -> bool {
        self.nodes.get(&node).is_some_and(|state| state.mapping > 0 || state.left.is_some())
    }

    /// Nobody has the node open for mapping, but a mapping may have been left.
    /// Whoever finds out that there is none tells by [`Modes::settle`].
    pub fn left(&self, node: u64) -> Option<Left> {
        self.nodes.get(&node).filter(|state| state.mapping == 0)?.left
    }

    /// No mapping had been left when `left` was asked for.
    pub fn settle(&mut self, node: u64, left: Left) {
        if let Some(state) = self.nodes.get_mut(&node).filter(|state| state.left == Some(left)) {
            state.left = None;
            if state.is_blank() {
                self.nodes.remove(&node);
            }
        }
    }

    /// Gives up the oldest unused backing files beyond the limit.
    fn trim(&mut self) -> Unused<B> {
        let mut unused = Vec::new();
        while self.idle.len() > self.keep_idle {
            let Some(node) = self.idle.pop_front() else { break };
            let Some(state) = self.nodes.get_mut(&node) else { continue };
            state.listed = false;
            if state.passthrough == 0 {
                unused.extend(state.backing.take());
            }
            if state.is_blank() {
                self.nodes.remove(&node);
            }
        }
        unused
    }
}

#[cfg(test)]
mod tests;
