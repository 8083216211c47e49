//! Compares `mini_fo run` with other ways to keep apart what a command changes, and with the
//! command alone: how long it takes to start, and what common work takes in it.
//!
//! `docs/BENCHMARKS.md` has results, and says how to read them.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;

/// Compares `mini_fo run` with other ways to run a command apart.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Where to work: on the file system of /
    #[arg(long, value_name = "DIR", default_value = "target/bench-work")]
    dir: PathBuf,
    /// How often each work is done
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// How often a command is started that does nothing
    #[arg(long, value_name = "N", default_value_t = 200)]
    starts: usize,
    /// Files of the repository
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    files: usize,
}

/// A way to run a command.
struct Way {
    name: &'static str,
    /// What stands before the command. `apart`: an empty directory of its own.
    words: fn(apart: &Path) -> Vec<OsString>,
    /// Whether it works here.
    works: fn() -> bool,
}

const WAYS: [Way; 6] = [
    Way { name: "plain", words: |_| Vec::new(), works: || true },
    Way { name: "mini_fo run", words: mini_fo, works: || true },
    Way { name: "overlayfs", words: overlayfs, works: is_root },
    Way { name: "try", words: try_it, works: try_works },
    Way { name: "bwrap --overlay", words: bwrap, works: || bwrap_has("--overlay-src") },
    Way { name: "bwrap, no overlay", words: bwrap_alone, works: || bwrap_has("--dev-bind") },
];

fn words(list: &[&str]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

fn mini_fo(apart: &Path) -> Vec<OsString> {
    let program = std::env::var_os("MINI_FO").unwrap_or_else(|| "mini_fo".into());
    let storage = apart.join("storage").into_os_string();
    let mut all = vec![program];
    all.extend(words(&["run", "--quiet", "--storage"]));
    all.extend([storage, "--".into()]);
    all
}

/// `$0`: the directory, with the three that overlayfs wants.
const OVERLAYFS: &str = r#"
mount -t overlay none -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root" &&
mount --rbind /proc "$0/root/proc" && mount --rbind /dev "$0/root/dev" &&
exec chroot "$0/root" "$@""#;

fn overlayfs(apart: &Path) -> Vec<OsString> {
    let mut all = words(&["unshare", "--mount", "sh", "-c", OVERLAYFS]);
    all.push(apart.into());
    all
}

/// <https://github.com/binpash/try>: a script that Debian has not.
fn try_it(apart: &Path) -> Vec<OsString> {
    vec!["try".into(), "-D".into(), apart.into()]
}

/// It is there, makes its mounts, and keeps words of a command apart.
fn try_works() -> bool {
    let script = r#"
        command -v try || exit 1; dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
        try -D "$dir" sh -c 'test "$1" = "a b"' sh "a b""#;
    let tried = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output();
    tried.is_ok_and(|tried| tried.status.success())
}

fn bwrap(apart: &Path) -> Vec<OsString> {
    let mut all = words(&["bwrap", "--overlay-src", "/", "--overlay"]);
    all.extend(["upper", "work"].map(|name| apart.join(name).into_os_string()));
    all.extend(words(&["/", "--dev-bind", "/dev", "/dev", "--proc", "/proc"]));
    all
}

fn bwrap_alone(_: &Path) -> Vec<OsString> {
    words(&["bwrap", "--dev-bind", "/", "/"])
}

fn bwrap_has(option: &str) -> bool {
    let help = Command::new("bwrap").arg("--help").output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains(option))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Work that is compared.
struct Work {
    name: &'static str,
    /// Programs that it needs.
    tool: &'static str,
    /// Makes what it works with, in an empty directory. `$FILES`: how many.
    setup: &'static str,
    /// What is measured; it may leave `out` there.
    script: &'static str,
}

const WORKS: [Work; 5] = [
    Work {
        name: "git clone",
        tool: "git",
        setup: REPOSITORY,
        script: "git clone --quiet --no-local repo out",
    },
    Work {
        name: "git status",
        tool: "git",
        setup: REPOSITORY,
        script: "git -C repo status --porcelain > /dev/null",
    },
    Work {
        name: "cargo build",
        tool: "cargo",
        setup: "cargo init --quiet --vcs none --name small --bin crate",
        script: "cargo build --quiet --offline --manifest-path crate/Cargo.toml --target-dir out",
    },
    Work { name: "pip install", tool: "pip3", setup: WHEEL, script: PIP },
    Work { name: "npm ci", tool: "npm", setup: PACKAGE, script: NPM },
];

const REPOSITORY: &str = r#"
git init --quiet repo; cd repo
awk -v n="$FILES" 'BEGIN { for (i = 0; i < n; i++) { d = int(i / 200)
    if (i % 200 == 0) system("mkdir -p d" int(d / 20) "/e" d)
    f = "d" int(d / 20) "/e" d "/f" i ".c"; for (j = 0; j < 40; j++) print "int x" i "_" j ";" > f
    close(f) } }'
git add . && git -c user.name=x -c user.email=x -c gc.auto=0 commit --quiet -m all
git status > /dev/null"#;

const WHEEL: &str = r#"python3 -c '
import zipfile
z = zipfile.ZipFile("small-1-py3-none-any.whl", "w"); d = "small-1.dist-info/"
for i in range(300): z.writestr("small/m%d.py" % i, "x = %d\n" % i * 50)
z.writestr(d + "METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
z.writestr(d + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
z.writestr(d + "RECORD", "")'"#;

const PIP: &str = "PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore pip3 install \
                   --quiet --no-index --target out ./small-1-py3-none-any.whl";

const PACKAGE: &str = r#"
mkdir dep app; cd dep; i=0
while [ $i -lt 300 ]; do echo "exports.x = $i" > m$i.js; i=$((i + 1)); done
echo '{"name":"dep","version":"1.0.0"}' > package.json; npm pack --silent > /dev/null; cd ../app
echo '{"name":"app","version":"1.0.0","dependencies":{"dep":"file:../dep/dep-1.0.0.tgz"}}' > package.json
npm install --silent --offline --no-audit --no-fund --package-lock-only"#;

const NPM: &str = "mkdir out && cp app/package*.json out && cd out && sed -i s,../dep,../dep, \
                   package.json && npm ci --silent --offline --no-audit --no-fund";

fn main() -> ExitCode {
    match compare(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mini_fo_bench_run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(cli: &Cli) -> io::Result<()> {
    fs::create_dir_all(&cli.dir)?;
    let top = cli.dir.canonicalize()?.join("run");
    clear(&top)?;
    let measured = in_all(cli, &top);
    clear(&top)?;
    measured
}

fn in_all(cli: &Cli, top: &Path) -> io::Result<()> {
    let ways: Vec<&Way> = WAYS.iter().filter(|way| (way.works)()).collect();
    for way in WAYS.iter().filter(|way| !ways.iter().any(|one| one.name == way.name)) {
        println!("left out, for it does not work here: {}", way.name);
    }
    print!("{:<14}", "ms (x plain)");
    ways.iter().for_each(|way| print!("{:>20}", way.name));
    println!();
    fs::create_dir_all(top)?;
    row("true", &ways, cli.starts, &top.join("apart"), || Ok(words(&["true"])))?;
    let mut made = "";
    for work in &WORKS {
        if !has(work.tool) {
            println!("{:<14} left out: there is no {}", work.name, work.tool);
            continue;
        }
        let place = top.join("work");
        if made != work.setup {
            made = work.setup;
            make(cli, work, &place)?;
        }
        let out = place.join("out");
        row(work.name, &ways, cli.rounds, &top.join("apart"), || {
            clear(&out)?;
            let mut all = words(&["sh", "-ec"]);
            all.push(format!("cd \"$0\"; {}", work.script).into());
            all.push(place.clone().into());
            Ok(all)
        })?;
    }
    Ok(())
}

/// Makes what a work needs.
fn make(cli: &Cli, work: &Work, place: &Path) -> io::Result<()> {
    clear(place)?;
    fs::create_dir_all(place)?;
    let mut shell = Command::new("sh");
    shell.args(["-euc", work.setup]).current_dir(place).env("FILES", cli.files.to_string());
    ended(work.name, shell.status()?)
}

/// All ways in turn, so that what else the machine does meets all of them.
fn row(
    name: &str,
    ways: &[&Way],
    rounds: usize,
    apart: &Path,
    command: impl Fn() -> io::Result<Vec<OsString>>,
) -> io::Result<()> {
    let mut times = vec![Vec::new(); ways.len()];
    // The first round fills caches.
    for round in 0..=rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            clear(apart)?;
            for dir in ["upper", "work", "root"] {
                fs::create_dir_all(apart.join(dir))?;
            }
            let mut all = (way.words)(apart);
            all.extend(command()?);
            let time = time(way.name, &all)?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    print!("{name:<14}");
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let plain = medians.first().copied().unwrap_or(1.0);
    for median in &medians {
        print!("{:>20}", format!("{median:.1} ({:.2})", median / plain));
    }
    println!();
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
fn time(name: &str, all: &[OsString]) -> io::Result<f64> {
    let Some((program, rest)) = all.split_first() else { return Ok(f64::NAN) };
    let begun = Instant::now();
    let status = Command::new(program).args(rest).stdin(Stdio::null()).status();
    let taken = begun.elapsed().as_secs_f64() * 1e3;
    ended(name, status?)?;
    Ok(taken)
}

fn ended(name: &str, status: std::process::ExitStatus) -> io::Result<()> {
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{name}: {status}"))),
    }
}

fn has(tool: &str) -> bool {
    let asked = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
