//! Runs the comparison where nothing of it can be left behind.
//!
//! A shell keeps watch: it outlives the end of the run, whatever that was, and
//! clears up. For root the run lies in mount and process namespaces of its own:
//! with its first process all daemons and mounts end.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::systems::is_root;

/// Set for the process that measures: `yes` in namespaces, else `no`.
const INSIDE: &str = "MINI_FO_BENCH_INSIDE";

/// `$1`: this program. `$2`: the directory that it works in. Then the command.
const WATCH: &str = r#"
bench=$1 dir=$2; shift 2
"$@" &
child=$!
trap 'kill -KILL $child 2>/dev/null' INT TERM HUP
wait $child; status=$?
wait $child 2>/dev/null
trap '' INT TERM HUP
# Processes of a namespace that was killed take a moment to end.
"$bench" --sweep --dir "$dir" || { sleep 2; "$bench" --sweep --dir "$dir"; }
exit $status
"#;

/// Whether this is the process that measures, and whether in namespaces.
pub fn inside() -> Option<bool> {
    std::env::var_os(INSIDE).map(|value| value == "yes")
}

/// Becomes the watching shell; returns only if that fails.
pub fn enter(dir: &Path) -> io::Error {
    let bench = match std::env::current_exe() {
        Ok(bench) => bench,
        Err(error) => return error,
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", WATCH, "sh"]).arg(&bench).arg(dir);
    if is_root() {
        shell.args(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        shell.args(["--propagation", "private", "--"]);
        // A shell as its first process: it waits for the daemons that have ended.
        shell.args(["sh", "-c", "\"$@\"; exit $?", "sh"]).env(INSIDE, "yes");
    } else {
        shell.env(INSIDE, "no");
    }
    shell.arg(&bench).args(std::env::args_os().skip(1)).exec()
}
