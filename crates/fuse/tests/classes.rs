//! Under which scheduling class the threads of the rings run, in one process
//! that has a single mount at a time.

mod common;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Mounted, rings};
use fuse_server::{Config, MountOptions, TransportChoice};

/// `SCHED_OTHER` and `SCHED_IDLE` as `/proc/PID/task/TID/stat` shows them.
const ORDINARY: &str = "0";
const IDLE: &str = "5";

/// How many threads of rings run under a class.
fn count(class: &str) -> usize {
    let read = |task: &Path, file| fs::read_to_string(task.join(file)).unwrap_or_default();
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| Some(task.ok()?.path()))
        .filter(|task| {
            // The command in brackets and 39 fields come before the policy.
            let stat = read(task, "stat");
            let policy = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(38));
            // `fuse-rings` is the one that starts others.
            let name = read(task, "comm");
            name.starts_with("fuse-ring") && name.trim() != "fuse-rings" && policy == Some(class)
        })
        .count()
}

fn becomes(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: {} idle, {} not", count(IDLE), count(ORDINARY));
        thread::sleep(Duration::from_millis(5));
    }
}

fn mount(idle_class: bool) -> Option<Mounted> {
    let config = Config { idle_class, transport: TransportChoice::Uring, ..Config::default() };
    let mounted = Mounted::new(&config, &MountOptions::default())?;
    assert!(!mounted.path("there").exists());
    Some(mounted)
}

/// Whether a thread may leave `SCHED_IDLE` (sched(7)): only then is it taken on.
fn may_return() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & 1 << 23 != 0
}

#[test]
fn threads_leave_the_cpu_to_others_unless_they_work_for_long() {
    let Some(_allowed) = rings::Allowed::new() else { return };
    if !may_return() {
        println!("skipped: CAP_SYS_NICE is missing");
        return;
    }
    let Some(mounted) = mount(true) else { return };
    let asked = |name| !mounted.path(name).exists();
    becomes("under requests", || asked("there") && count(IDLE) > 0);
    // A thread that waited under that class might wait for the CPU.
    becomes("at rest", || count(IDLE) == 0);
    // One that announces long work, and one that only takes long.
    for name in ["slow", "silent"] {
        let (go_on, wait) = mpsc::channel();
        *mounted.fs.slow.lock().unwrap() = Some(wait);
        let path = mounted.path(name);
        let client = thread::spawn(move || path.exists());
        becomes(name, || asked("there") && count(IDLE) > 0 && count(ORDINARY) > 0);
        go_on.send(()).unwrap();
        assert!(!client.join().unwrap());
    }
    fs::write(mounted.path("f"), vec![1; 1 << 20]).unwrap();
    assert_eq!(fs::read(mounted.path("f")).unwrap().len(), 1 << 20);
    assert_eq!(fs::read_dir(mounted.point()).unwrap().count(), 1);
    becomes("after data", || asked("there") && count(IDLE) > 0);
    mounted.end();

    let Some(mounted) = mount(false) else { return };
    becomes("switched off", || count(ORDINARY) > 0 && count(IDLE) == 0);
    mounted.end();
}
