//! A daemon whose mount becomes the root: it depends on nothing of the tree that it
//! serves, and ends with it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{WorkDir, cannot_mount, engine_is_product, is_root, run, skip};

/// Moves the root into a mount of `/`, as examples/overlay_init does, and works in it
/// for a while: what the daemon does by `/proc`, and new programs all the time.
const SCRIPT: &str = r#"
set -u
mini_fo=$1 work=$2 options=$3 seconds=4
mkdir $work/root $work/tmp
mount -t tmpfs tmpfs $work/tmp || exit 9
mkdir $work/tmp/storage
$mini_fo mount / $work/root --storage $work/tmp/storage $options || exit 9
$mini_fo list --json > $work/list
cd $work/root
mkdir -p rom dev proc sys
for point in dev proc sys; do mount --rbind /$point $point; done
mount --make-rprivate /
pivot_root . rom || exit 9
cd /
mkdir /w && cp /bin/true /w/true || exit 9
again() {
    end=$(($(date +%s) + seconds))
    while [ $(date +%s) -lt $end ]; do
        eval "$1" || { echo "failed: $1"; exit 1; }
    done
    echo done >> /w/done
}
for i in 1 2 3 4; do
    again "cp -p /bin/true /w/f$i; chmod 7${i}5 /w/f$i; /w/f$i; chmod 644 /w/f$i" &
done
again 'mkdir /w/d /x; rmdir /w/d /x' &
again 'setfattr -n user.x -v 1 /w/true; getfattr -n user.x /w/true >/w/said 2>&1' &
again 'mkfifo /w/p; chmod 600 /w/p; rm /w/p; chmod 644 /etc/hostname; ls / >/w/ls' &
sleep 1
umount -l /proc
wait
[ $(wc -l < /w/done) = 7 ] && echo all went on
"#;

fn root_moves_into_the_mount(options: &str) {
    if !engine_is_product() || cannot_mount() {
        return;
    }
    if !is_root() {
        return skip("pivot_root needs root");
    }
    let work = WorkDir::new();
    let path = work.0.to_str().expect("UTF-8");
    let own = env!("CARGO_BIN_EXE_mini_fo");
    let words = ["-m", "--propagation", "private", "timeout", "-k", "1", "60", "bash", "-c"];
    let args = [&words[..], &[SCRIPT, "script", own, path, options]].concat();
    let said = run("unshare", &args);
    let daemon = daemon_of(&work);
    let ended = ends(daemon, Duration::from_secs(5));
    if !ended {
        // It would outlive the test.
        run("kill", &["-KILL", &daemon.to_string()]);
    }
    assert!(said.stdout.contains("all went on"), "{}\n{}", said.stdout, said.stderr);
    assert!(ended, "the daemon outlived its mount namespace");
}

/// The process of the mount in the work directory, as `mini_fo list` told it.
fn daemon_of(work: &WorkDir) -> u32 {
    let list = fs::read_to_string(work.0.join("list")).expect("a list");
    let root = format!("\"mountpoint\":\"{}/root\"", work.0.display());
    let entry = list.split('{').find(|entry| entry.contains(&root)).expect("listed");
    let pid = entry.split("\"pid\":").nth(1).expect("a pid");
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

pub fn ends(pid: u32, most: Duration) -> bool {
    let begun = Instant::now();
    let exe = format!("/proc/{pid}/fd/0");
    while Path::new(&exe).exists() {
        if begun.elapsed() > most {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn the_root_may_move_into_the_mount() {
    root_moves_into_the_mount("");
}

#[test]
fn so_it_may_over_a_base_that_changes() {
    root_moves_into_the_mount("-o live_base=0.01");
}
