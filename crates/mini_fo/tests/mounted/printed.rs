//! docs/RECIPES.md as it is printed: its lines are run, each section on a system of
//! its own, and what they promise is looked at in the shell in which they ended.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{WorkDir, cannot_mount, engine_is_product, have, is_root, skip};

/// What happens with the blocks of a section.
struct Recipe {
    section: &'static str,
    /// `root` or `user`.
    who: &'static str,
    /// Programs without which it is skipped; `+NAME`: a file system of the kernel.
    needs: &'static [&'static str],
    /// Makes what the recipe takes as given.
    setup: &'static str,
    /// Which blocks are run one after the other, and what holds after each.
    steps: &'static [(usize, &'static str)],
}

const VENDOR: &str = "mkdir /opt/vendor; echo old > /opt/vendor/f";

const RECIPES: &[Recipe] = &[
    Recipe {
        section: "Changes that stay, changes that vanish",
        who: "root",
        needs: &[],
        setup: VENDOR,
        steps: &[(0, "echo new > /opt/vendor/f; grep -q new /var/lib/overlay/vendor/f")],
    },
    Recipe {
        section: "Changes that stay, changes that vanish",
        who: "root",
        needs: &[],
        setup: VENDOR,
        steps: &[(1, "echo new > /opt/vendor/f; grep -q new /run/overlay/f")],
    },
    Recipe {
        section: "Back to factory defaults",
        who: "root",
        needs: &[],
        setup:
            "mkdir /opt/vendor; echo old > /opt/vendor/f; mkdir -p -m 700 /var/lib/overlay/vendor
            mini_fo mount /opt/vendor /opt/vendor --storage /var/lib/overlay/vendor
            echo new > /opt/vendor/f",
        steps: &[(0, "grep -q old /opt/vendor/f")],
    },
    Recipe {
        section: "A CD that can be written",
        who: "root",
        needs: &["xorriso", "+iso9660"],
        setup: "mkdir tree /media/cd /media/stick; echo old > tree/f",
        steps: &[(0, "echo new > /mnt/f; grep -q old /media/cd/f")],
    },
    Recipe {
        section: "A storage on FAT",
        who: "root",
        needs: &["mkfs.ext4"],
        setup: "mkdir /media/cd /media/stick; echo old > /media/cd/f",
        steps: &[(
            0,
            "echo new > /mnt/tree/f; grep -q old /media/cd/f; ln /mnt/tree/f /mnt/tree/g
            mini_fo umount /mnt/tree; umount /mnt/changes",
        )],
    },
    Recipe {
        section: "The line of 2005, and fstab",
        who: "root",
        needs: &[],
        setup: "mkdir /b; mkdir -m 700 /s; echo old > /b/f",
        steps: &[(0, "echo new > /mnt/f; grep -q old /b/f")],
    },
    Recipe {
        section: "One program in an overlay",
        who: "root",
        needs: &[],
        setup: "printf '#!/bin/sh\\ntest \"$1\" = upgrade; echo new > /etc/upgraded; rm /etc/passwd\\n' \
            > /usr/local/bin/apt-get; chmod +x /usr/local/bin/apt-get",
        steps: &[(
            0,
            "test -e /etc/passwd; test ! -e /etc/upgraded
            mini_fo run -q --name try -- sh -c 'grep new /etc/upgraded && test ! -e /etc/passwd'
            mini_fo rm --yes try",
        )],
    },
    Recipe {
        section: "An overlaid root for one program",
        who: "root",
        needs: &[],
        // The real one would take long, and a network.
        setup: "printf '#!/bin/sh\\ntest \"$1\" = upgrade; echo new > /etc/upgraded; rm /etc/passwd
            test -c /dev/null; test -r /proc/self/status; ls /home/me > /dev/null\\n' \
            > /usr/local/bin/apt-get; chmod +x /usr/local/bin/apt-get",
        steps: &[
            (
                0,
                "test -e /etc/passwd; test ! -e /etc/upgraded
                grep -q new /var/tmp/try/storage/etc/upgraded",
            ),
            (1, "test -z \"$(ls /var/tmp/try/root)\"; test -e /dev/pts/ptmx"),
        ],
    },
    Recipe {
        section: "As an ordinary user",
        who: "user",
        needs: &["fusermount3", "unshare user"],
        setup: "",
        steps: &[(
            1,
            "touch tree/mine 2>/dev/null || true; ls tree > /dev/null; mini_fo umount tree",
        )],
    },
    Recipe {
        section: "As an ordinary user",
        who: "user",
        needs: &["unshare user"],
        setup: "",
        steps: &[(
            2,
            "echo x > /etc/mine; rm /etc/passwd; test -c /dev/null; test -r /proc/self/status",
        )],
    },
    Recipe {
        section: "A tree of another user namespace",
        who: "root",
        needs: &[],
        setup: "mkdir -p /var/lib/containers/one; touch /var/lib/containers/one/f
            chown 100000:100000 /var/lib/containers/one
            chown 100007:100008 /var/lib/containers/one/f",
        steps: &[(
            0,
            "test $(stat -c %u:%g /mnt/f) = 7:8; touch /mnt/g
            test $(stat -c %u /var/tmp/one/g) = 100000",
        )],
    },
];

/// Blocks that are not run here, and why.
const OTHERS: &[(&str, usize, &str)] = &[
    ("The line of 2005, and fstab", 1, "a line of /etc/fstab: options::a_line_in_fstab"),
    ("The first program of 2005", 0, "a shell that stays: recipes::overlay_init_overlays_the_root"),
    ("As an ordinary user", 0, "fusermount3 as it is installed: user::through_fusermount3"),
    ("As an ordinary user", 3, "fusermount3: ids::a_user_changes_a_foreign_tree"),
    ("Containers", 0, "lines of storage.conf: scripts/podman.sh"),
];

/// Another system is booted there.
const BOOTED: &str = "A root on flash";

/// The blocks of lines in a document, each with its section.
fn blocks(text: &str) -> Vec<(String, usize, String)> {
    let mut found: Vec<(String, usize, String)> = Vec::new();
    let (mut section, mut number, mut open) = (String::new(), 0, false);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            (section, number) = (title.to_owned(), 0);
        }
        let Some(code) = line.strip_prefix("    ") else {
            open = false;
            continue;
        };
        if !open {
            found.push((section.clone(), number, String::new()));
            number += 1;
        }
        open = true;
        let last = found.last_mut().expect("a block");
        last.2 += &format!("{code}\n");
    }
    found
}

fn lacks(recipe: &Recipe) -> Option<&'static str> {
    let kernel = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let namespaces = || {
        let args = ["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "true"];
        Command::new("setpriv").args(args).output().is_ok_and(|said| said.status.success())
    };
    recipe.needs.iter().copied().find(|need| match need.strip_prefix('+') {
        Some(kind) => !kernel.contains(kind),
        None if *need == "unshare user" => !namespaces(),
        None => !have(need),
    })
}

/// Runs lines on a system of its own.
fn on_a_system(who: &str, setup: &str, lines: &str) -> Output {
    let work = WorkDir::new();
    work.dir("mem");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mounted/printed/sandbox.sh");
    let own = ["-mpf", "--kill-child", "--propagation", "private", "bash"];
    let mut child = Command::new("timeout")
        .args(["-k", "5", "60", "unshare"])
        .args(own)
        .arg(&script)
        .arg(&work.0)
        .args([env!("CARGO_BIN_EXE_mini_fo"), who, setup])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("write");
    child.wait_with_output().expect("wait")
}

/// `None`: it holds; else what was said.
fn try_out(recipe: &Recipe, blocks: &[(String, usize, String)]) -> Option<String> {
    let mut lines = String::new();
    for (number, check) in recipe.steps {
        let block = blocks.iter().find(|(s, n, _)| s == recipe.section && n == number);
        let Some((_, _, text)) = block else { return Some("there is no such block".to_owned()) };
        lines += &format!("{text}( set -e; {check}\n) && echo HOLDS-{number}\n");
    }
    let said = on_a_system(recipe.who, recipe.setup, &lines);
    if said.status.code() == Some(77) {
        skip("no overlayfs to make a system of");
        return None;
    }
    let text = String::from_utf8_lossy(&said.stdout);
    let all = recipe.steps.iter().all(|(number, _)| text.contains(&format!("HOLDS-{number}")));
    if all && said.status.success() {
        return None;
    }
    Some(format!("{lines}\n{:?}\n{text}\n{}", said.status, String::from_utf8_lossy(&said.stderr)))
}

/// The session that the README shows says what it shows.
#[test]
fn the_session_of_the_readme() {
    if !engine_is_product() || cannot_mount() {
        return;
    }
    if !is_root() {
        return skip("makes a system of its own, which needs root");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(path).expect("README.md");
    let session = readme.lines().skip_while(|line| !line.starts_with("    # "));
    let session = session.take_while(|line| line.starts_with("    "));
    let mut lines = "exec 2>&1; set +e\n".to_owned();
    let mut shown = String::new();
    for line in session.filter_map(|line| line.get(4..)) {
        match line.strip_prefix("# ") {
            Some(command) => lines += &format!("{command}\n"),
            None => shown += &format!("{line}\n"),
        }
    }
    let setup = "mkdir /opt/vendor; mount -t tmpfs none /opt/vendor; mkdir /opt/vendor/etc
        echo port=80 > /opt/vendor/etc/server.conf; echo > /opt/vendor/etc/old.conf
        mount -o remount,ro /opt/vendor; mkdir -p /srv; rm -rf /srv/changes";
    let said = on_a_system("root", setup, &lines);
    if said.status.code() == Some(77) {
        return skip("no overlayfs to make a system of");
    }
    let text = String::from_utf8_lossy(&said.stdout);
    // A shell that reads its lines from a pipe tells which line it was.
    let text: Vec<_> = text.lines().map(|line| line.replacen("line 2: ", "", 1)).collect();
    assert_eq!(text, shown.lines().collect::<Vec<_>>(), "{said:?}");
}

#[test]
fn every_recipe_works_as_printed() {
    if !engine_is_product() || cannot_mount() {
        return;
    }
    if !is_root() {
        return skip("makes a system of its own, which needs root");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/RECIPES.md");
    let blocks = blocks(&fs::read_to_string(path).expect("docs/RECIPES.md"));
    assert!(blocks.len() > 10, "the recipes are not found");
    for (section, number, text) in blocks.iter().filter(|(section, ..)| section != BOOTED) {
        let run = RECIPES.iter().any(|recipe| {
            recipe.section == section && recipe.steps.iter().any(|(step, _)| step == number)
        });
        let other = OTHERS.iter().any(|(known, at, _)| known == section && at == number);
        assert!(run != other, "nobody says what becomes of block {number} of {section}:\n{text}");
    }
    for recipe in RECIPES {
        if let Some(missing) = lacks(recipe) {
            skip(&format!("{}: there is no {missing}", recipe.section));
            continue;
        }
        let failed = try_out(recipe, &blocks);
        assert!(failed.is_none(), "{}: {}", recipe.section, failed.unwrap_or_default());
    }
}
