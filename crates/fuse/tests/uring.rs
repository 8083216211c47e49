//! The transport over io_uring: all tests of mounts, and its own.
//!
//! They switch the kernel's parameter on and back; where they may not, they
//! say so and pass.

#[path = "mounted.rs"]
mod operations;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use fuse_server::{Config, MountOptions, Transport};
use operations::common::Mounted;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).unwrap();
}

/// Threads that are there by name.
fn threads(name: &str) -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim() == name)
        .count()
}

#[test]
fn rings_are_used_and_end_with_the_mount() {
    let Some(mounted) = Mounted::default() else { return };
    assert_eq!(mounted.transport, Transport::Uring);
    fs::write(mounted.path("f"), b"x").unwrap();
    for cpu in cpus() {
        assert!(threads(&format!("fuse-ring{cpu}")) >= 1, "CPU {cpu}");
    }
    mounted.end();
}

/// What one client does, over and over, in a directory of its own.
fn load(dir: &Path, rounds: usize) {
    fs::create_dir(dir).unwrap();
    for round in 0..rounds {
        let (file, other) = (dir.join(format!("f{round}")), dir.join("other"));
        let data = vec![round as u8; 1 + round * 977 % 20_000];
        fs::write(&file, &data).unwrap();
        assert!(fs::read(&file).unwrap() == data);
        assert!(!other.exists());
        fs::rename(&file, &other).unwrap();
        assert_eq!(fs::metadata(&other).unwrap().len(), data.len() as u64);
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
        fs::remove_file(&other).unwrap();
    }
    fs::remove_dir(dir).unwrap();
}

#[test]
fn many_clients_at_once() {
    let Some(mounted) = Mounted::default() else { return };
    let clients: Vec<_> = (0..12)
        .map(|n| {
            let dir = mounted.path(&format!("d{n}"));
            let cpu = cpus().into_iter().cycle().nth(n).unwrap();
            thread::spawn(move || {
                // Half of them stay, the others wander.
                if n % 2 == 0 {
                    stay_on(cpu);
                }
                load(&dir, 100);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    while mounted.fs.nodes() > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(mounted.fs.nodes(), 1, "lookups were lost");
    mounted.end();
}

/// More slow requests from one CPU than it has places, all at once.
#[test]
fn slow_methods_do_not_stall_their_cpu() {
    let Some(mounted) = Mounted::default() else { return };
    let cpu = cpus()[0];
    fs::write(mounted.path("f"), b"").unwrap();
    let (go_on, wait) = mpsc::channel();
    *mounted.fs.slow.lock().unwrap() = Some(wait);
    let together = Arc::new(Barrier::new(12));
    let slow: Vec<_> = (0..12)
        .map(|n| {
            let (dir, together) = (mounted.path(&format!("d{n}")), Arc::clone(&together));
            fs::create_dir(&dir).unwrap();
            thread::spawn(move || {
                stay_on(cpu);
                together.wait();
                dir.join("slow").exists()
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(100));
    let path = mounted.path("f");
    let took = thread::spawn(move || {
        stay_on(cpu);
        let begun = Instant::now();
        for _ in 0..100 {
            File::open(&path).unwrap();
        }
        begun.elapsed()
    });
    let took = took.join().unwrap();
    for _ in 0..12 {
        go_on.send(()).unwrap();
    }
    assert!(slow.into_iter().all(|thread| !thread.join().unwrap()));
    assert!(took < Duration::from_secs(3), "{took:?}");
    mounted.end();
}

#[test]
fn large_reads_and_writes_at_any_offset() {
    let config = Config { max_pages: 512, ..Config::default() };
    let Some(mounted) = Mounted::new(&config, &MountOptions::default()) else { return };
    let path = mounted.path("f");
    let file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 241) as u8).collect();
    file.write_all_at(&data, 12_345).unwrap();
    let node = fs::metadata(mounted.path("f")).unwrap().ino() - 1000;
    mounted.notifier.inval_inode(node, 0, 0).unwrap();
    let mut back = vec![0; data.len()];
    file.read_exact_at(&mut back, 12_345).unwrap();
    assert!(back == data);
    // Small ones again, when memory has been given back.
    for n in 0..200u64 {
        file.write_all_at(b"small", n * 10_000).unwrap();
    }
    file.read_exact_at(&mut back[..5], 1_990_000).unwrap();
    assert_eq!(&back[..5], b"small");
}

fn keep_busy(mounted: &Mounted) -> Vec<thread::JoinHandle<()>> {
    (0..4)
        .map(|n| {
            let dir = mounted.path(&format!("d{n}"));
            fs::create_dir(&dir).unwrap();
            thread::spawn(move || {
                // Until the tree is gone from under it.
                for round in 0.. {
                    let file = dir.join(format!("f{round}"));
                    if fs::write(&file, b"busy").is_err() || fs::remove_file(&file).is_err() {
                        break;
                    }
                }
            })
        })
        .collect()
}

#[test]
fn unmounting_while_busy() {
    let Some(mounted) = Mounted::default() else { return };
    let busy = keep_busy(&mounted);
    thread::sleep(Duration::from_millis(200));
    mounted.stop.stop().unwrap();
    busy.into_iter().for_each(|client| client.join().unwrap());
    mounted.wait().unwrap();
}

#[test]
fn aborting_while_busy() {
    let Some(mounted) = Mounted::default() else { return };
    let busy = keep_busy(&mounted);
    thread::sleep(Duration::from_millis(200));
    if mounted.stop.abort().is_err() {
        println!("skipped: only root may abort");
        mounted.stop.stop().unwrap();
    }
    busy.into_iter().for_each(|client| client.join().unwrap());
    mounted.wait().unwrap();
}
