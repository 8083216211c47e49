//! Running programs, and saying why a test cannot run.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a program left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Fails unless the program ended with `code` and said every word of `words`.
    pub fn fails(self, code: i32, words: &[&str]) -> Outcome {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing in: {}", self.stderr);
        }
        self
    }
}

/// Runs a program to its end. Its output goes through files and not through
/// pipes, so that a daemon which kept them could not make this call hang.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Outcome {
    let mut command = limited(program);
    command.args(args);
    finish(&mut command)
}

/// Runs a shell script in `dir` and returns its standard output; it must succeed.
pub fn sh(dir: &Path, script: &str) -> String {
    let outcome = try_sh(dir, script);
    assert_eq!(
        outcome.code,
        0,
        "in {}: {script}\nstdout: {}\nstderr: {}",
        dir.display(),
        outcome.stdout,
        outcome.stderr
    );
    outcome.stdout
}

fn try_sh(dir: &Path, script: &str) -> Outcome {
    let mut command = limited("bash");
    command
        .args(["-euc", script])
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("HOME", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_DATE", "2005-03-01T12:00:00Z")
        .env("GIT_COMMITTER_DATE", "2005-03-01T12:00:00Z");
    finish(&mut command)
}

/// A program that is ended after two minutes: a mount that does not answer
/// must not stop all tests.
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "120", program]);
    command
}

fn finish(command: &mut Command) -> Outcome {
    let output = OutputFiles::new();
    let status = command
        .stdin(Stdio::null())
        .stdout(output.file(0))
        .stderr(output.file(1))
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    use std::os::unix::process::ExitStatusExt;
    Outcome {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: output.text(0),
        stderr: output.text(1),
    }
}

/// Two unnamed temporary files.
struct OutputFiles([std::fs::File; 2]);

impl OutputFiles {
    fn new() -> OutputFiles {
        OutputFiles([(); 2].map(|()| {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_TMPFILE)
                .open(std::env::temp_dir())
                .expect("an unnamed file in the temporary directory")
        }))
    }

    fn file(&self, index: usize) -> std::fs::File {
        self.0[index].try_clone().expect("dup")
    }

    fn text(&self, index: usize) -> String {
        use std::os::unix::fs::FileExt;
        let length = self.0[index].metadata().expect("fstat").len() as usize;
        let mut bytes = vec![0; length];
        self.0[index].read_exact_at(&mut bytes, 0).expect("read");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `program` can be found.
pub fn have(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(program).exists())
}

/// Says that a test, or a part of it, could not run. Written past the capture
/// of the test runner, because a silent skip looks like a pass.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let line = format!("SKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(log) = std::env::var_os("MINI_FO_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(log);
        if let Ok(mut file) = file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

/// True, with a line saying why, when one of the programs is missing.
pub fn skip_unless(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs.iter().filter(|name| !have(name)).collect();
    if !missing.is_empty() {
        skip(&format!("not installed: {missing:?}"));
    }
    !missing.is_empty()
}
