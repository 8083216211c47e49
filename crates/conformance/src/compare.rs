//! The four systems, each mounted over a fresh ext4 of its own.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, ValueEnum};

use crate::cases::{self, Case, persistence};
use crate::kit::Failure;
use crate::report::{Column, Known, Report};
use crate::runner::{Runner, Verdict};
use crate::{Filter, Limit};

/// Set for the process inside the namespaces.
const INSIDE: &str = "MINI_FO_CONFORMANCE_WORK";

/// What to compare.
#[derive(Args)]
pub struct Options {
    /// The mini_fo program [default: $MINI_FO, or the release build]
    #[arg(long, value_name = "FILE")]
    mini_fo: Option<PathBuf>,
    /// The fuse-overlayfs program [default: $FUSE_OVERLAYFS, or what
    /// scripts/bench-setup.sh installs]; left out when it is not there
    #[arg(long, value_name = "FILE")]
    fuse_overlayfs: Option<PathBuf>,
    /// The systems to compare
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    fs: Vec<Kind>,
    /// Where to work; a directory is made there and removed
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    dir: PathBuf,
    /// Work in a plain directory instead of an ext4 of its own; always for
    /// users who are not root. What the plain directory refuses to this user
    /// is not asked of the others
    #[arg(long)]
    plain: bool,
    /// Exceptions: lines of system, case and reason
    #[arg(long, value_name = "FILE", default_value = "scripts/conformance.known")]
    known: PathBuf,
    /// Write the table as Markdown to FILE
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    filter: Filter,
}

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A plain directory.
    Native,
    /// The kernel's.
    Overlayfs,
    /// The kernel's with everything that makes it more like a plain one.
    OverlayfsFull,
    /// The peer of containers.
    FuseOverlayfs,
    /// This project.
    #[value(name = "mini_fo")]
    MiniFo,
}

impl Kind {
    /// Its name in tables and in the list of exceptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Overlayfs => "overlayfs",
            Self::OverlayfsFull => "overlayfs-full",
            Self::FuseOverlayfs => "fuse-overlayfs",
            Self::MiniFo => "mini_fo",
        }
    }

    /// Must it pass everything but the known exceptions?
    pub fn is_held_to_it(self) -> bool {
        matches!(self, Self::Native | Self::MiniFo)
    }
}

/// Runs everything in mount and process namespaces of its own, so that
/// nothing is left of it however it ends.
///
/// # Errors
/// It cannot be set up.
pub fn compare(options: &Options) -> io::Result<ExitCode> {
    if let Some(work) = std::env::var_os(INSIDE) {
        return inside(options, Path::new(&work));
    }
    let work = options.dir.join(format!("mini_fo_conformance-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let work = work.canonicalize()?;
    if !rustix::process::geteuid().is_root() {
        let outcome = inside(options, &work);
        // Some cases leave directories that may not be entered.
        shell(&format!("chmod -R u+rwX {0}; rm -rf {0}", quoted(&work)))?;
        return outcome;
    }
    // A shell, so that somebody waits for the daemons that have ended.
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "--", "sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, &work)
        .env("PATH", search_path())
        .stdin(Stdio::null())
        .status();
    shell(&format!("rm -rf --one-file-system {}", quoted(&work)))?;
    Ok(ExitCode::from(status?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// mke2fs is not on every user's path.
fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn inside(options: &Options, work: &Path) -> io::Result<ExitCode> {
    let cases = options.filter.cases();
    let known = Known::read(&options.known)?;
    let plain = options.plain || !rustix::process::geteuid().is_root();
    let all = Kind::value_variants();
    let mut asked = if options.fs.is_empty() { all.to_vec() } else { options.fs.clone() };
    if plain {
        asked.retain(|&kind| kind != Kind::Native);
        asked.insert(0, Kind::Native);
    }
    let mut report = Report { cases: cases.clone(), columns: Vec::new() };
    for kind in asked {
        let system = System::new(kind, options, work, plain)?;
        if let Some(program) = system.program.as_ref().filter(|program| !program.is_file()) {
            let missing = format!("{} is missing", program.display());
            if kind.is_held_to_it() {
                return Err(io::Error::other(missing));
            }
            eprintln!("{} is left out: {missing}", kind.name());
            continue;
        }
        let verdicts = match system.run(&cases, options.limit) {
            Err(error) if plain && !kind.is_held_to_it() => {
                eprintln!("{} is left out: {error}", kind.name());
                continue;
            }
            verdicts => verdicts?,
        };
        report.columns.push(Column { kind, verdicts });
    }
    if plain {
        report.leave_out_what_is_refused_natively(&known);
    }
    print!("{}", report.text(&known));
    if let Some(file) = &options.markdown {
        fs::write(file, report.markdown(&known))?;
    }
    Ok(if report.is_good(&known) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a base looks like, or why that cannot be said.
type Snapshot = Result<BTreeMap<PathBuf, String>, Failure>;

/// One system: shell commands that mount and unmount it.
struct System {
    kind: Kind,
    /// Nothing for those that are part of the kernel.
    program: Option<PathBuf>,
    /// The ext4 that it works on.
    disk: PathBuf,
    /// Holds it; nothing when it is a plain directory.
    image: Option<PathBuf>,
    merged: PathBuf,
    mount: String,
    unmount: String,
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

impl System {
    fn new(kind: Kind, options: &Options, work: &Path, plain: bool) -> io::Result<Self> {
        let name = kind.name();
        let (disk, image) = (work.join(name), work.join(format!("{name}.img")));
        let image = (!plain).then_some(image);
        let merged = if kind == Kind::Native { disk.join("base") } else { disk.join("merged") };
        let at = |name: &str| quoted(&disk.join(name));
        let (base, storage, scratch, on) = (at("base"), at("storage"), at("scratch"), at("merged"));
        let layers = format!("lowerdir={base},upperdir={storage},workdir={scratch}");
        let program = |given: &Option<PathBuf>, variable: &str, default: &str| {
            let asked = given.clone().or_else(|| std::env::var_os(variable).map(PathBuf::from));
            std::path::absolute(asked.unwrap_or_else(|| default.into()))
        };
        let umount = format!("umount {on} || fusermount3 -u {on}");
        let (program, mount, unmount) = match kind {
            Kind::Native => {
                let disk = quoted(&disk);
                let mount = image.as_deref().map(|image| loop_mount(image, &disk));
                let unmount = mount.as_ref().map(|_| format!("umount {disk}"));
                (None, mount.unwrap_or("true".into()), unmount.unwrap_or("true".into()))
            }
            Kind::Overlayfs => (None, format!("mount -t overlay overlay -o {layers} {on}"), umount),
            Kind::OverlayfsFull => {
                let all = "redirect_dir=on,index=on,nfs_export=on,xino=on";
                (None, format!("mount -t overlay overlay -o {layers},{all} {on}"), umount)
            }
            Kind::FuseOverlayfs => {
                let program = program(
                    &options.fuse_overlayfs,
                    "FUSE_OVERLAYFS",
                    "target/peers/bin/fuse-overlayfs",
                )?;
                let mount = format!("{} -o {layers} {on}", quoted(&program));
                (Some(program), mount, umount)
            }
            Kind::MiniFo => {
                let program = program(&options.mini_fo, "MINI_FO", "target/release/mini_fo")?;
                let call = quoted(&program);
                let mount = format!("{call} mount {base} {on} --storage {storage}");
                (Some(program), mount, format!("{call} umount {on}"))
            }
        };
        Ok(Self { kind, program, disk, image, merged, mount, unmount })
    }

    fn run(&self, cases: &[Case], limit: Limit) -> io::Result<Vec<Verdict>> {
        let base = self.prepare(cases)?;
        let remount = Some(format!("{}; {}", self.unmount, self.mount));
        let runner = Runner { merged: self.merged.clone(), remount, limit: limit.time() };
        let mut verdicts = Vec::new();
        let mut group = cases.first().map_or("", |case| case.group);
        for case in cases {
            if case.group != group {
                group = case.group;
                self.renew()?;
            }
            let verdict = runner.run(case)?;
            if verdict.is_failure() {
                let reason = verdict.reason().unwrap_or_default();
                eprintln!("{}: {}: {reason}", self.kind.name(), case.full_name());
            }
            if verdict == Verdict::Hung || !self.is_mounted() || !runner.is_alive() {
                self.mount_anew()?;
            }
            verdicts.push(verdict);
        }
        let _ = shell(&self.unmount);
        if let Some(at) = cases.iter().position(|case| case.name == "the_base_is_untouched")
            && self.kind != Kind::Native
            && let Some(verdict) = verdicts.get_mut(at)
        {
            let now = self.base_snapshot();
            let same = base.and_then(|base| persistence::unchanged(&base, &now?));
            *verdict = same.map_or_else(Verdict::from, |()| Verdict::Passed);
        }
        self.finish();
        Ok(verdicts)
    }

    /// Makes the file system and the base, and mounts; gives the base as it
    /// was then.
    fn prepare(&self, cases: &[Case]) -> io::Result<Snapshot> {
        fs::create_dir_all(&self.disk)?;
        let disk = quoted(&self.disk);
        if let Some(image) = &self.image {
            let image = quoted(image);
            shell(&format!("truncate -s 4G {image}; mke2fs -q -t ext4 -N 400000 {image}"))?;
            shell(&format!("mount -o loop,noatime {image} {disk}"))?;
        }
        for name in ["base", "storage", "scratch", "merged"] {
            fs::create_dir(self.disk.join(name))?;
        }
        cases::populate(&self.disk.join("base"), cases)?;
        let base = self.base_snapshot();
        if let Some(image) = &self.image {
            // What was just written is neither remembered nor still to be written.
            shell(&format!("umount {disk}; {}", loop_mount(image, &disk)))?;
        }
        if self.kind != Kind::Native {
            shell(&self.mount)?;
        }
        Ok(base)
    }

    /// A fresh storage, so that no group suffers from what another has left.
    fn renew(&self) -> io::Result<()> {
        if self.kind == Kind::Native {
            return Ok(());
        }
        let _ = shell(&format!("{} || {}", self.unmount, forced(&self.merged)));
        // Moved, not removed: files that must not be changed may be left there.
        let used = format!("used-{}", fs::read_dir(&self.disk)?.count());
        fs::create_dir(self.disk.join(&used))?;
        for name in ["storage", "scratch"] {
            fs::rename(self.disk.join(name), self.disk.join(&used).join(name))?;
            fs::create_dir(self.disk.join(name))?;
        }
        shell(&self.mount)
    }

    /// All of the base. Looking at it in a plain directory would move its
    /// times of access.
    fn base_snapshot(&self) -> Snapshot {
        if self.image.is_none() {
            return crate::kit::skipped("the base is a plain directory");
        }
        persistence::snapshot(&self.disk.join("base"))
    }

    fn is_mounted(&self) -> bool {
        if self.image.is_none() && self.kind == Kind::Native {
            return true;
        }
        let below = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let (here, under) = match self.kind {
            Kind::Native => (&self.disk, self.disk.parent()),
            _ => (&self.merged, Some(self.disk.as_path())),
        };
        below(here).is_some() && below(here) != under.and_then(below)
    }

    fn mount_anew(&self) -> io::Result<()> {
        let _ = shell(&self.unmount);
        while self.is_mounted() || !self.disk.join("merged").exists() {
            let target = if self.kind == Kind::Native { &self.disk } else { &self.merged };
            if shell(&forced(target)).is_err() {
                break;
            }
        }
        shell(&self.mount)
    }

    fn finish(&self) {
        if self.is_mounted() && self.kind != Kind::Native {
            let _ = shell(&forced(&self.merged));
        }
        let Some(image) = &self.image else { return };
        let disk = quoted(&self.disk);
        let _ = shell(&format!("umount {disk} || umount -l {disk}"));
        let _ = fs::remove_file(image);
    }
}

fn loop_mount(image: &Path, disk: &str) -> String {
    format!("mount -o loop {} {disk}", quoted(image))
}

/// Takes a mount away that is busy or dead.
fn forced(path: &Path) -> String {
    format!("umount -f {0} || umount -l {0} || fusermount3 -u -z {0}", quoted(path))
}

/// Runs a shell command; its standard error is the error's text.
fn shell(command: &str) -> io::Result<()> {
    let said = crate::kit::said()?;
    let status = Command::new("sh")
        .args(["-ec", command])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let said = crate::kit::read_at(&said, 0, 4000)?;
    Err(io::Error::other(format!("{command}: {}", String::from_utf8_lossy(&said).trim())))
}
