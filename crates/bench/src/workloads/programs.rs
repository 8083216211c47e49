//! A build with cargo, and git.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::sources::Numbers;
use crate::client;
use crate::rows::{Scene, Size};
use crate::stages::Group;
use crate::systems::succeed;

const GIT: [&str; 4] =
    ["git status, first", "git status, again", "git checkout of the parent", "git checkout back"];
const CARGO: [&str; 2] = ["cargo build", "cargo build, one module changed"];

/// The rows.
pub static GROUPS: [Group; 2] =
    [Group { rows: &GIT, run: git }, Group { rows: &CARGO, run: cargo }];

/// Functions in one module, at most.
const FUNCTIONS: usize = 60;

/// Makes the repository and the crate.
///
/// # Errors
/// What the file system or git says; git itself may be absent.
pub fn make(base: &Path, size: &Size) -> io::Result<()> {
    make_crate(&base.join("crate"), size.modules)?;
    let repository = base.join("git");
    fs::create_dir_all(&repository)?;
    match crate::systems::which("git") {
        Some(_) => make_repository(&repository, size.repository),
        None => Ok(()),
    }
}

fn make_repository(at: &Path, files: usize) -> io::Result<()> {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@localhost", "-c", "gc.auto=0"]);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        succeed(git.args(words).current_dir(at)).map(drop)
    };
    git(&["init", "--quiet", "--initial-branch=main", "."])?;
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    for n in 0..files {
        let dir = at.join(format!("d{}", n / 40));
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(format!("f{n}")), lines(&mut numbers))?;
    }
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "one"])?;
    // A tenth of the files changes, and some come and go.
    for n in (0..files).step_by(10) {
        fs::write(at.join(format!("d{}/f{n}", n / 40)), lines(&mut numbers))?;
        fs::write(at.join(format!("d{}/new{n}", n / 40)), lines(&mut numbers))?;
    }
    for n in (5..files).step_by(50) {
        fs::remove_file(at.join(format!("d{}/f{n}", n / 40)))?;
    }
    git(&["add", "--all", "."])?;
    git(&["commit", "--quiet", "-m", "two"])
}

fn lines(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for _ in 0..10 + numbers.below(200) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "line {} of {}", numbers.below(1000), numbers.below(1_000_000));
    }
    text
}

fn make_crate(at: &Path, modules: usize) -> io::Result<()> {
    fs::create_dir_all(at.join("src"))?;
    let manifest = "[package]\nname = \"measured\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [workspace]\n";
    fs::write(at.join("Cargo.toml"), manifest)?;
    let mut main = String::new();
    let mut calls = String::new();
    for n in 0..modules {
        fs::write(at.join(format!("src/m{n}.rs")), module(n, FUNCTIONS.min(5 * modules)))?;
        let _ = writeln!(main, "mod m{n};");
        let _ = writeln!(calls, "    sum += m{n}::all(sum);");
    }
    let body = format!("{main}fn main() {{\n    let mut sum = 1u64;\n{calls}");
    fs::write(at.join("src/main.rs"), body + "    println!(\"{sum}\");\n}\n")
}

fn module(n: usize, functions: usize) -> String {
    let mut text = String::from("use std::collections::BTreeMap;\n");
    for f in 0..functions {
        let _ = writeln!(
            text,
            "fn f{f}(x: u64) -> u64 {{\n    let mut map = BTreeMap::new();\n    \
             for i in 0..x % 7 {{\n        map.insert(i, format!(\"{n}-{f}-{{i}}\"));\n    }}\n    \
             map.values().map(|v| v.len() as u64).sum::<u64>().wrapping_add({f})\n}}"
        );
    }
    text.push_str("pub fn all(x: u64) -> u64 {\n    x");
    for f in 0..functions {
        let _ = write!(text, ".wrapping_add(f{f}(x))");
    }
    text + "\n}\n"
}

fn git(scene: &mut Scene) -> io::Result<()> {
    let [status, again, parent, back] = GIT;
    if !scene.at("git/.git").exists() {
        return client::skip("git", "it is not installed");
    }
    client::have_forgotten(2)?;
    let git = "cd git; export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null; git";
    scene.shell(status, &format!("{git} status"))?;
    scene.shell(again, &format!("{git} status"))?;
    scene.shell(parent, &format!("{git} checkout --quiet HEAD~1"))?;
    scene.shell(back, &format!("{git} checkout --quiet main"))
}

fn cargo(scene: &mut Scene) -> io::Result<()> {
    let [build, again] = CARGO;
    let Some(toolchain) = &scene.job.toolchain else {
        return client::skip("cargo", "there is no toolchain");
    };
    let script = format!(
        "cd crate; unset RUSTFLAGS CARGO_TARGET_DIR RUSTUP_TOOLCHAIN CARGO_BUILD_TARGET_DIR
         export CARGO_HOME='{home}/cargo' RUSTC='{bin}/rustc' LD_LIBRARY_PATH='{lib}'
         '{bin}/cargo' build --quiet --offline",
        home = scene.job.home.display(),
        bin = toolchain.join("bin").display(),
        lib = toolchain.join("lib").display(),
    );
    scene.shell(build, &script)?;
    let mut main = fs::OpenOptions::new().append(true).open(scene.at("crate/src/m0.rs"))?;
    io::Write::write_all(&mut main, b"// changed\n")?;
    drop(main);
    scene.shell(again, &script)
}
