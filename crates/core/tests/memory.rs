//! Memory per known node, counted where it is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mini_fo_core::{NodeId, OpenOptions, Overlay};

/// Counts what is in use, as glibc's malloc hands it out: 8 bytes of its own
/// with each piece, all of it rounded up to 16, and no less than 32.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

fn chunk(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the contract is that of the system's allocator, whose memory it is.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(chunk(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(chunk(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes per known node that are allowed (docs/ARCHITECTURE.md); its name is
/// not counted.
const ALLOWED: usize = 200;

/// Tables double between two of these, so that the worst filling is among them.
const STEPS: usize = 40;
const FILES: usize = 40_000;

/// Looks up names of this length, and returns the most bytes that were in use
/// per node, without the names themselves.
fn most_per_node(length: usize) -> usize {
    let dir = tempfile::TempDir::new().unwrap();
    let (base, storage) = (dir.path().join("base"), dir.path().join("storage"));
    std::fs::create_dir(&base).unwrap();
    std::fs::create_dir(&storage).unwrap();
    let file = |i: usize| format!("{i:0length$}");
    for i in 0..FILES {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            base.join(file(i)),
            rustix::fs::FileType::RegularFile,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    }
    let options = OpenOptions { base, storage, ..OpenOptions::default() };
    let overlay = Overlay::assemble(&options).unwrap();
    let before = IN_USE.load(Ordering::Relaxed);
    let mut nodes: Vec<NodeId> = Vec::with_capacity(FILES);
    let vector = IN_USE.load(Ordering::Relaxed) - before;
    let mut most = 0;
    for i in 0..FILES {
        let name = file(i);
        let entry = overlay.lookup(NodeId::ROOT, name.as_bytes()).unwrap().unwrap();
        nodes.push(entry.node);
        drop(name);
        if i > FILES / 20 && i % (FILES / STEPS) == 0 {
            let known = i + 1;
            let used = IN_USE.load(Ordering::Relaxed) - before - vector;
            most = most.max(used / known - length);
        }
    }
    assert_eq!(overlay.known_nodes(), FILES + 1);
    nodes.iter().for_each(|node| overlay.forget(*node, 1));
    assert_eq!(overlay.known_nodes(), 1);
    most
}

#[test]
fn a_known_node_takes_no_more_than_it_may() {
    // Lengths on both sides of what the allocator rounds to.
    for length in [8, 20, 25] {
        let most = most_per_node(length);
        println!("names of {length} bytes: {most} bytes per node");
        assert!(most <= ALLOWED, "names of {length} bytes: {most} bytes per node");
    }
}
