//! The state machine against what the kernel demands.
#![forbid(unsafe_code)]

use proptest::prelude::*;

use super::*;

const BACKED: Want = Want { backed: true, base: false, writes: false, avoid: false, maps: false };
const KEPT: Grant = Grant::Cached { keep: true, direct: false };
const EMPTIED: Grant = Grant::Cached { keep: false, direct: false };
const BASE: Want = Want { backed: false, ..BACKED };

#[test]
fn base_files_never_register() {
    let mut modes = Modes::<u32>::new(4);
    let (grant, _) = modes.open(2, BASE, || panic!("a base file was registered"));
    assert_eq!(grant, KEPT);
}

#[test]
fn nobody_writes_what_is_read_in_the_base() {
    let read = Want { base: true, ..BASE };
    let write = Want { writes: true, ..BACKED };
    let mut modes = Modes::new(4);
    let (reader, id) = modes.open(2, read, || Some(1));
    assert_eq!((reader, id), (Grant::Passthrough { maps: false }, Some(1)));
    assert_eq!(modes.start_writing(2), (false, vec![]));
    // Attributes of it may be copied up meanwhile: it is read as before.
    assert!(modes.leave_base(2).is_empty());
    let (another, id) = modes.open(2, BACKED, || panic!("two files for one node"));
    assert_eq!(id, Some(1));
    assert!(matches!(modes.open(2, write, || panic!()), (Grant::Cached { .. }, None)));
    modes.close(2, EMPTIED);
    modes.close(2, another);
    assert!(modes.close(2, reader).is_empty());
    // Now it may be, and whoever comes meanwhile reads through the daemon.
    assert_eq!(modes.start_writing(2), (true, vec![1]));
    let (late, id) = modes.open(2, read, || panic!("it is being copied up"));
    assert!(matches!(late, Grant::Cached { .. }) && id.is_none());
    modes.end_writing(2);
    modes.close(2, late);
    let (writer, id) = modes.open(2, write, || Some(2));
    assert_eq!(id, Some(2));
    modes.close(2, writer);
    assert!(modes.leave_base(2).is_empty(), "it is the file of the storage");
    assert_eq!(modes.forget(2), [2]);
    // Where nothing comes of it nothing is left.
    assert_eq!(modes.start_writing(3), (true, vec![]));
    modes.end_writing(3);
    assert!(modes.nodes.is_empty());
}

#[test]
fn a_reader_of_the_base_keeps_a_writer_cached() {
    let mut modes = Modes::new(4);
    let (reader, _) = modes.open(2, BASE, || None);
    let (writer, _) = modes.open(2, BACKED, || Some(1));
    assert_eq!(writer, KEPT);
    modes.close(2, reader);
    assert!(matches!(modes.open(2, BACKED, || Some(1)).0, Grant::Cached { .. }));
    modes.close(2, writer);
    modes.close(2, writer);
    assert!(matches!(modes.open(2, BACKED, || Some(1)).0, Grant::Passthrough { .. }));
}

#[test]
fn a_cache_from_before_passthrough_is_not_kept() {
    let mut modes = Modes::new(4);
    let (grant, _) = modes.open(2, BACKED, || Some(1));
    modes.close(2, grant);
    let avoid = Want { avoid: true, ..BACKED };
    let (first, _) = modes.open(2, avoid, || Some(1));
    let (second, _) = modes.open(2, avoid, || Some(1));
    assert_eq!((first, second), (EMPTIED, EMPTIED));
    modes.close(2, second);
    assert_eq!(modes.open(2, avoid, || Some(1)).0, KEPT);
}

#[test]
fn setuid_files_join_a_live_passthrough() {
    let mut modes = Modes::new(4);
    modes.open(2, BACKED, || Some(1));
    let (grant, id) = modes.open(2, Want { avoid: true, ..BACKED }, || Some(2));
    assert_eq!((grant, id), (Grant::Passthrough { maps: false }, Some(1)));
}

#[test]
fn mapping_is_known_while_it_lasts() {
    let mut modes = Modes::new(4);
    let (grant, _) = modes.open(2, Want { maps: true, ..BACKED }, || Some(1));
    assert!(modes.is_mapped(2) && !modes.is_mapped(3));
    modes.close(2, grant);
    assert!(modes.is_mapped(2), "a mapping may outlive its descriptor");
    let left = modes.left(2).unwrap();
    let (other, _) = modes.open(2, Want { avoid: true, ..BACKED }, || Some(1));
    assert_eq!(other, Grant::Cached { keep: false, direct: true });
    modes.close(2, other);
    let (again, _) = modes.open(2, Want { maps: true, ..BACKED }, || Some(1));
    assert_eq!(modes.left(2), None);
    modes.close(2, again);
    modes.settle(2, left);
    assert!(modes.is_mapped(2), "that was about the mapping before");
    modes.settle(2, modes.left(2).unwrap());
    assert!(!modes.is_mapped(2));
}

/// What the kernel makes sure of, from `fs/fuse/iomode.c` as the notes
/// describe it: a count of cached opens, or of passthrough ones and their
/// backing file; and a page cache that holds some version of the data.
#[derive(Default)]
struct Kernel {
    cached: u32,
    passthrough: u32,
    backing: Option<u32>,
    /// Version of the data that the page cache holds.
    pages: Option<u32>,
}

impl Kernel {
    fn open(&mut self, grant: Grant, id: Option<u32>, data: u32) {
        match grant {
            Grant::Cached { direct: true, .. } => {
                assert_eq!(self.passthrough, 0, "EINVAL: direct during passthrough");
                // It may be mapped, and so count as a cached one.
                self.cached += 1;
                self.pages = None;
            }
            Grant::Cached { keep, direct: false } => {
                assert_eq!(self.passthrough, 0, "EINVAL: cached during passthrough");
                self.cached += 1;
                if !keep {
                    self.pages = None;
                }
                // It is read at once: the page cache must not be old.
                assert_eq!(*self.pages.get_or_insert(data), data, "stale bytes");
            }
            Grant::Passthrough { .. } => {
                assert_eq!(self.cached, 0, "ETXTBSY: passthrough during cached");
                assert!(self.passthrough == 0 || self.backing == id, "EBUSY: two files");
                self.passthrough += 1;
                self.backing = id;
            }
        }
    }

    fn write(&mut self, grant: Grant, data: u32) {
        match grant {
            Grant::Cached { direct: false, .. } => self.pages = Some(data),
            // The kernel drops the pages of what is written past them.
            Grant::Cached { direct: true, .. } => self.pages = None,
            Grant::Passthrough { .. } => {}
        }
    }

    fn close(&mut self, grant: Grant) {
        match grant {
            Grant::Cached { .. } => self.cached -= 1,
            Grant::Passthrough { .. } => self.passthrough -= 1,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open {
        node: u64,
        write: bool,
        suid: bool,
    },
    Write {
        open: usize,
    },
    Close {
        open: usize,
        arrives: bool,
    },
    Arrive,
    Forget {
        node: u64,
    },
    /// It was found out that no mapping is left.
    Settle {
        node: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (2..5u64, any::<bool>(), any::<bool>())
            .prop_map(|(node, write, suid)| Step::Open { node, write, suid }),
        2 => any::<usize>().prop_map(|open| Step::Write { open }),
        3 => (any::<usize>(), any::<bool>())
            .prop_map(|(open, arrives)| Step::Close { open, arrives }),
        2 => Just(Step::Arrive),
        1 => (2..5u64).prop_map(|node| Step::Forget { node }),
        1 => (2..5u64).prop_map(|node| Step::Settle { node }),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Default)]
struct World {
    kernels: HashMap<u64, Kernel>,
    /// Copied up, and the version of the data.
    files: HashMap<u64, (bool, u32)>,
    opens: Vec<(u64, Grant)>,
    /// RELEASE requests on their way: the kernel has let go already.
    flying: VecDeque<(u64, Grant)>,
    ids: u32,
    live: std::collections::HashSet<u32>,
}

impl World {
    fn step(&mut self, modes: &mut Modes<u32>, step: Step) {
        let unused = match step {
            Step::Open { node, write, suid } => {
                self.open(modes, node, write, suid);
                Vec::new()
            }
            Step::Write { open } => {
                let Some(&(node, grant)) = pick(&self.opens, open) else { return };
                let file = self.files.entry(node).or_default();
                if file.0 {
                    file.1 += 1;
                    self.kernels.entry(node).or_default().write(grant, file.1);
                }
                Vec::new()
            }
            Step::Close { open, arrives } => {
                if self.opens.is_empty() {
                    return;
                }
                let (node, grant) = self.opens.swap_remove(open % self.opens.len());
                self.kernels.entry(node).or_default().close(grant);
                if !arrives {
                    self.flying.push_back((node, grant));
                    return;
                }
                modes.close(node, grant)
            }
            Step::Arrive => match self.flying.pop_front() {
                Some((node, grant)) => modes.close(node, grant),
                None => return,
            },
            Step::Settle { node } => {
                if let Some(left) = modes.left(node) {
                    modes.settle(node, left);
                }
                return;
            }
            Step::Forget { node } => {
                // The kernel has let go of all opens by then, but their
                // releases may be on their way.
                let is_node = |open: &(u64, Grant)| open.0 == node;
                if self.opens.iter().any(is_node) {
                    return;
                }
                self.kernels.remove(&node);
                let unused = modes.forget(node);
                let flying = self.flying.iter().any(is_node);
                assert_eq!(modes.nodes.contains_key(&node), flying);
                unused
            }
        };
        for id in unused {
            assert!(self.live.remove(&id), "given up twice");
        }
    }

    fn open(&mut self, modes: &mut Modes<u32>, node: u64, write: bool, suid: bool) {
        let file = self.files.entry(node).or_default();
        let mut given_up = Vec::new();
        if write {
            let (may, unused) = modes.start_writing(node);
            given_up.extend(unused);
            if may {
                file.0 = true;
                modes.end_writing(node);
            }
        }
        let base = !file.0 && node != 2;
        if !base {
            given_up.extend(modes.leave_base(node));
        }
        for id in given_up {
            assert!(self.live.remove(&id), "given up twice");
        }
        // Refused, as long as somebody reads the base.
        if write && !file.0 {
            return;
        }
        let want = Want { backed: file.0, base, avoid: write && suid, maps: write, writes: write };
        let (ids, live) = (&mut self.ids, &mut self.live);
        let (grant, id) = modes.open(node, want, || {
            // Odd ones are those of the base.
            *ids = (*ids / 2 + 1) * 2 + u32::from(base);
            live.insert(*ids);
            Some(*ids)
        });
        assert!(id.is_none_or(|id| live.contains(&id)), "a dead backing file is used");
        assert!(file.0 || base || id.is_none(), "the base is handed out");
        assert!(!write || id.is_none_or(|id| id % 2 == 0), "the base is handed out to a writer");
        self.kernels.entry(node).or_default().open(grant, id, file.1);
        self.opens.push((node, grant));
    }
}

fn pick<T>(list: &[T], at: usize) -> Option<&T> {
    list.get(at % list.len().max(1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_kernel_never_objects(steps in steps(), keep_idle in 0..3usize) {
        let mut modes = Modes::new(keep_idle);
        let mut world = World::default();
        for step in steps {
            world.step(&mut modes, step);
            prop_assert!(modes.idle.len() <= keep_idle);
        }
        // When all is closed, no more than the limit is kept.
        while let Some((node, grant)) = world.opens.pop() {
            modes.close(node, grant);
        }
        while let Some((node, grant)) = world.flying.pop_front() {
            modes.close(node, grant);
        }
        let kept = modes.nodes.values().filter(|state| state.backing.is_some()).count();
        prop_assert!(kept <= keep_idle);
    }
}
