//! The systems compared.

mod daemon;
mod mount;
mod programs;

use std::io;
use std::path::Path;

pub use daemon::Usage;
pub use mount::{command_as, detach, mount};
pub use programs::{Programs, succeed, which};

/// What kind of program a system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A plain directory.
    Native,
    /// The kernel's.
    Overlayfs,
    /// The peer of containers.
    FuseOverlayfs,
    /// The peer of live systems.
    UnionfsFuse,
    /// This project.
    MiniFo,
}

/// A system in one of its modes.
#[derive(Debug)]
pub struct System {
    /// Its name in the report and on the command line.
    pub name: &'static str,
    /// Its name at the top of a column.
    pub short: &'static str,
    /// Whose.
    pub family: Family,
    /// Daemon and clients run as an ordinary user.
    pub user: bool,
    /// What is mounted with besides the directories.
    options: &'static str,
}

impl System {
    const fn new(
        name: &'static str,
        short: &'static str,
        family: Family,
        user: bool,
        options: &'static str,
    ) -> Self {
        Self { name, short, family, user, options }
    }

    /// What it is, for people.
    pub fn description(&self) -> String {
        let mut text = match self.family {
            Family::Native => "a plain directory".to_string(),
            Family::Overlayfs => format!("the kernel's overlayfs{}", self.options),
            Family::FuseOverlayfs => "fuse-overlayfs".into(),
            Family::UnionfsFuse => "unionfs-fuse".into(),
            Family::MiniFo => format!("mini_fo -o {}", self.options),
        };
        if self.user {
            text.push_str(", all as an ordinary user");
        }
        text
    }

    /// Requests come through io_uring.
    pub fn rings(&self) -> bool {
        self.options.contains("transport=uring")
    }

    /// A first write makes a copy of all the file's data, holes included.
    pub fn copies_holes(&self) -> bool {
        matches!(self.family, Family::FuseOverlayfs | Family::UnionfsFuse)
    }
}

impl PartialEq for System {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All, in the order of the report.
pub static SYSTEMS: [System; 14] = {
    use Family::{FuseOverlayfs, MiniFo, Native, Overlayfs, UnionfsFuse};
    [
        System::new("native", "native", Native, false, ""),
        System::new("overlayfs", "overlayfs", Overlayfs, false, ""),
        System::new(
            "overlayfs-fast",
            "ovl-fast",
            Overlayfs,
            false,
            ",volatile,metacopy=on,redirect_dir=on",
        ),
        System::new("fuse-overlayfs", "f-o", FuseOverlayfs, false, ""),
        System::new("unionfs-fuse", "unionfs", UnionfsFuse, false, ""),
        System::new("mini_fo-uring", "uring", MiniFo, false, "transport=uring"),
        System::new(
            "mini_fo-uring-cached",
            "uring-c",
            MiniFo,
            false,
            "transport=uring,nopassthrough",
        ),
        System::new(
            "mini_fo-uring-ordinary",
            "uring-o",
            MiniFo,
            false,
            "transport=uring,nosched_idle",
        ),
        System::new("mini_fo-classic", "classic", MiniFo, false, "transport=classic"),
        System::new(
            "mini_fo-classic-cached",
            "classic-c",
            MiniFo,
            false,
            "transport=classic,nopassthrough",
        ),
        System::new("mini_fo-volatile", "volatile", MiniFo, false, "transport=uring,volatile"),
        System::new("fuse-overlayfs-user", "f-o-user", FuseOverlayfs, true, ""),
        System::new("mini_fo-user-uring", "uring-user", MiniFo, true, "transport=uring"),
        System::new("mini_fo-user-classic", "classic-user", MiniFo, true, "transport=classic"),
    ]
};

/// Those of a smoke run: of every program one, and every way that requests and
/// data go.
pub const QUICK: [&str; 9] = [
    "=native",
    "=overlayfs",
    "=fuse-overlayfs",
    "=unionfs-fuse",
    "=mini_fo-uring",
    "=mini_fo-classic",
    "=mini_fo-classic-cached",
    "=fuse-overlayfs-user",
    "=mini_fo-user-uring",
];

/// An error with what it is about.
pub fn within(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The systems whose name is one of `asked` or begins with one and a dash, and
/// why others of them are left out. All if none is asked for; one alone if its
/// name is written with an equals sign before it.
///
/// # Errors
/// No system is called so; none can run here.
pub fn usable(
    asked: &[String],
    programs: &Programs,
) -> io::Result<(Vec<&'static System>, Vec<String>)> {
    for text in asked {
        if !SYSTEMS.iter().any(|system| is_meant(system, text)) {
            let names: Vec<_> = SYSTEMS.iter().map(|system| system.name).collect();
            let names = names.join(", ");
            return Err(io::Error::other(format!("no system '{text}'; there are: {names}")));
        }
    }
    let (mut chosen, mut notes) = (Vec::new(), Vec::new());
    for system in &SYSTEMS {
        if !asked.is_empty() && !asked.iter().any(|text| is_meant(system, text)) {
            continue;
        }
        match lack(system, programs) {
            Some(lack) => notes.push(format!("{}: {lack}", system.name)),
            None => chosen.push(system),
        }
    }
    if chosen.is_empty() {
        return Err(io::Error::other(format!("nothing to measure: {}", notes.join("; "))));
    }
    Ok((chosen, notes))
}

fn is_meant(system: &System, text: &str) -> bool {
    if let Some(name) = text.strip_prefix('=') {
        return system.name == name;
    }
    let rest = system.name.strip_prefix(text);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Why `system` cannot run here.
fn lack(system: &System, programs: &Programs) -> Option<String> {
    if !is_root() && !system.user && system.family != Family::Native {
        return Some("it is mounted by root".into());
    }
    if is_root() && system.user && programs.setpriv.is_none() {
        return Some("there is no setpriv to become another user with".into());
    }
    if !is_root() && system.user && std::fs::File::open("/dev/fuse").is_err() {
        return Some("this user may not open /dev/fuse".into());
    }
    if system.rings() && !rings_are_possible() {
        return Some("this kernel's fuse module has no io_uring, or has it switched off".into());
    }
    match system.family {
        Family::Native | Family::Overlayfs => None,
        Family::FuseOverlayfs => missing(&programs.fuse_overlayfs),
        Family::UnionfsFuse => missing(programs.unionfs.as_deref()?),
        Family::MiniFo => missing(&programs.mini_fo),
    }
    .or_else(|| {
        let absent = system.family == Family::UnionfsFuse && programs.unionfs.is_none();
        absent.then(|| "the program unionfs-fuse is missing".into())
    })
}

fn missing(program: &Path) -> Option<String> {
    (!program.is_file()).then(|| format!("{} is missing", program.display()))
}

/// Where the fuse module's switch for io_uring is.
pub const ENABLE_URING: &str = "/sys/module/fuse/parameters/enable_uring";

fn rings_are_possible() -> bool {
    match std::fs::read_to_string(ENABLE_URING) {
        Ok(now) => is_root() || now.starts_with('Y'),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (n, system) in SYSTEMS.iter().enumerate() {
            assert!(SYSTEMS.iter().skip(n + 1).all(|other| other != system), "{}", system.name);
        }
    }

    #[test]
    fn a_family_is_asked_for_by_its_name() {
        let of = |text: &str| SYSTEMS.iter().filter(|system| is_meant(system, text)).count();
        assert_eq!(of("overlayfs"), 2);
        assert_eq!(of("mini_fo"), 8);
        assert_eq!(of("mini_fo-uring"), 3);
        assert_eq!(of("mini"), 0);
        assert_eq!(of("=mini_fo"), 0);
        assert!(QUICK.iter().all(|name| of(name) == 1));
    }
}
