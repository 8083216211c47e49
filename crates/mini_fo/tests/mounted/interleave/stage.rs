//! A mount on a base with a directory for each of many cases, and the case
//! that is run in the next of them.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::case::{Case, Step, at, bytes};
use super::check::same;
use super::model::{Inode, Model};
use super::ops::{Op, Sequence};
use super::rings::Rings;
use crate::cli::daemon;
use crate::common::sys::Errno;
use crate::common::{BaseKind, Scene, StorageKind, mini_fo, run, sys};

/// When all files of a base were changed last, in seconds.
const OLD: i64 = 1_109_678_400;

/// A file of a case's directory in the base: name, size, mode. A size above
/// `SPARSE` is that of a file with holes, less `SPARSE`.
pub type BaseFile = (&'static str, usize, u32);

const SPARSE: usize = 1 << 30;

/// What a case's directory holds.
pub struct Layout {
    /// All names that steps may use; the base has some of them.
    pub names: &'static [&'static str],
    pub files: &'static [BaseFile],
    /// Two names of one file.
    pub links: &'static [(&'static str, &'static str)],
}

/// Sizes around those of pages and blocks.
pub const RICH: Layout = Layout {
    names: &[
        "big", "h1", "h2", "p4097", "new0", "s", "x", "p4096", "sparse", "empty", "p4095", "new1",
        "d/in", "d/new",
    ],
    files: &[
        ("big", (3 << 20) + 123, 0o644),
        ("h1", 8191, 0o640),
        ("p4097", 4097, 0o644),
        ("s", 5000, 0o6755),
        ("x", 9000, 0o755),
        ("p4096", 4096, 0o600),
        ("sparse", SPARSE + (1 << 20) + 5, 0o644),
        ("empty", 0, 0o644),
        ("p4095", 4095, 0o444),
        ("d/in", 6000, 0o644),
    ],
    links: &[("h1", "h2")],
};

/// One file to do everything to, and one to replace.
pub const PLAIN: Layout =
    Layout { names: &["f", "g"], files: &[("f", 8197, 0o644), ("g", 5, 0o600)], links: &[] };

impl Layout {
    fn content(name: &str, size: usize) -> Vec<u8> {
        let seed = name.bytes().map(usize::from).sum();
        if size >= SPARSE {
            let mut data = vec![0; size - SPARSE];
            data[70_000..75_000].copy_from_slice(&bytes(seed, 5000));
            return data;
        }
        let mut data = bytes(seed, size);
        if name == "x" {
            data[..16].copy_from_slice(b"#!/bin/echo ran\n");
        }
        data
    }

    /// The model of a fresh directory.
    pub fn model(&self) -> Model {
        let mut model = Model { inodes: Vec::new(), names: Default::default() };
        let number = |name| self.names.iter().position(|&known| known == name).expect("a name");
        for &(name, size, mode) in self.files {
            let inode = Inode::new(Layout::content(name, size), mode, Some(OLD));
            model.add(number(name) as u8, inode);
        }
        for &(old, new) in self.links {
            let inode = model.names[&(number(old) as u8)];
            model.names.insert(number(new) as u8, inode);
        }
        model
    }

    fn fill(&self, dir: &Path) {
        fs::create_dir(dir).expect("mkdir");
        if self.names.iter().any(|name| name.starts_with("d/")) {
            fs::create_dir(dir.join("d")).expect("mkdir");
        }
        for &(name, size, mode) in self.files {
            let path = dir.join(name);
            let data = Layout::content(name, size);
            if size >= SPARSE {
                let file = fs::File::create(&path).expect("create");
                file.set_len(data.len() as u64).expect("ftruncate");
                file.write_all_at(&data[70_000..75_000], 70_000).expect("write");
            } else {
                fs::write(&path, data).expect("write");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            sys::set_times(&path, OLD, 123_456_789);
        }
        for (old, new) in self.links {
            fs::hard_link(dir.join(old), dir.join(new)).expect("link");
        }
    }
}

/// A mount for cases.
pub struct Stage {
    pub scene: Scene,
    layout: &'static Layout,
    options: String,
    pub next: usize,
    cases: usize,
    /// Goes last, after the mount.
    _rings: Option<Rings>,
}

impl Stage {
    /// `options`: for the mount. None where nothing can be mounted.
    pub fn new(
        layout: &'static Layout,
        options: &str,
        storage: StorageKind,
        cases: usize,
    ) -> Option<Stage> {
        let fill = |base: &Path| {
            for case in 0..cases {
                layout.fill(&base.join(directory(case)));
            }
        };
        let rings = match options.contains("transport=uring") {
            true => Some(Rings::new()?),
            false => None,
        };
        let scene = Scene::unmounted(BaseKind::Tmpfs, storage, fill)?;
        let options = options.to_owned();
        let mut stage = Stage { scene, layout, options, next: 0, cases, _rings: rings };
        stage.mount();
        Some(stage)
    }

    pub fn used_up(&self) -> bool {
        self.next >= self.cases
    }

    fn mount(&mut self) {
        match self.options.as_str() {
            "" => self.scene.mount(&[]),
            options => self.scene.mount(&["-o", options]),
        }
    }

    /// Ends the mount and makes it anew. Nothing may be open.
    pub fn remount(&mut self) -> Step {
        let start = Instant::now();
        loop {
            let outcome = mini_fo(&[Path::new("umount"), &self.scene.mnt]);
            match outcome.code {
                0 => break,
                // A child of another thread may not have closed ours yet.
                _ if outcome.stderr.contains("busy") && start.elapsed().as_secs() < 5 => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                code => return Err(format!("umount ended with {code}: {}", outcome.stderr)),
            }
        }
        self.mount();
        Ok(())
    }

    /// Kills the daemon and mounts anew.
    fn crash(&mut self, case: &mut Case<'_>) -> Step {
        for map in case.maps.values().filter(|map| map.kind == super::ops::MapKind::SharedWrite) {
            at("msync", map.sync())?;
        }
        let pid = daemon(&self.scene);
        let pid = rustix::process::Pid::from_raw(pid).ok_or("no daemon")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .map_err(|errno| format!("kill: {errno}"))?;
        self.mount_again(case)
    }

    /// Mounts anew after the daemon was killed.
    pub fn mount_again(&mut self, case: &mut Case<'_>) -> Step {
        let start = Instant::now();
        while rustix::fs::statfs(&self.scene.mnt).err() != Some(Errno::NOTCONN) {
            if start.elapsed().as_secs() > 10 {
                return Err("the mount outlives its daemon".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        case.close_all()?;
        run("umount", &["-l".as_ref(), self.scene.mnt.as_os_str()]);
        self.mount();
        Ok(())
    }

    /// A case in a directory of its own.
    pub fn case(&mut self) -> Case<'static> {
        let dir = directory(self.next);
        self.next += 1;
        Case::new(self.scene.at(&dir), self.layout.names, self.layout.model())
    }

    /// Runs a case to its end, a remount included.
    pub fn run(&mut self, sequence: &Sequence) -> Step {
        let read_only = self.options.split(',').any(|option| option == "ro");
        let mine = directory(self.next);
        let mut case = self.case();
        for (step, op) in sequence.ops.iter().enumerate() {
            if read_only && op.changes() {
                continue;
            }
            self.step(&mut case, op, sequence.watched)
                .map_err(|what| format!("step {step}, {op:?}: {what}"))?;
        }
        case.check(true).map_err(|what| format!("at the end: {what}"))?;
        case.close_all()?;
        case.check_closed().map_err(|what| format!("at the end, closed: {what}"))?;
        self.remount()?;
        case.check_closed().map_err(|what| format!("after a remount: {what}"))?;
        self.check_base(&mine)
    }

    fn step(&mut self, case: &mut Case<'_>, op: &Op, watched: bool) -> Step {
        match op {
            Op::Remount => {
                case.close_all()?;
                self.remount()?;
                case.check_closed()
            }
            Op::Crash => {
                self.crash(case)?;
                case.check_closed()
            }
            op => {
                case.apply(op)?;
                if watched { case.check(false) } else { Ok(()) }
            }
        }
    }

    /// Fails if the base's files of a case are not as they were made. (What
    /// else a base may lose is compared when the scene ends.)
    pub fn check_base(&self, directory: &str) -> Step {
        let dir = self.scene.quiet_base().join(directory);
        for &(name, size, mode) in self.layout.files {
            let what = format!("THE BASE: {name}");
            let found = at(&what, fs::metadata(dir.join(name)))?;
            let data = Layout::content(name, size);
            if (found.mode() & 0o7777, found.mtime(), found.uid()) != (mode, OLD, 0) {
                return Err(format!("{what}: {found:?}"));
            }
            same(&what, 0, &data, &at(&what, fs::read(dir.join(name)))?)?;
        }
        Ok(())
    }
}

/// The directory of a case.
pub fn directory(case: usize) -> String {
    format!("c{case:05}")
}
