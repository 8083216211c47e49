//! What people do with trees of files: the workloads of a table of 2026.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::sources;
use crate::client;
use crate::rows::{Scene, Size};
use crate::stages::Group;

const FIND: [&str; 2] = ["find -printf, cold", "find -printf, warm"];
const TAR: [&str; 1] = ["tar of all, cold"];
const GREP: [&str; 1] = ["grep -r, second pass"];
const UNTAR: [&str; 2] = ["untar the tree into it", "rm -rf of what was untarred"];
const APPEND: [&str; 1] = ["append one byte to the big base file"];
const HUGE: [&str; 1] = ["write one byte into a 10 GiB base file"];
const TOUCH: [&str; 1] = ["touch every file of a base subtree"];
const CHMOD: [&str; 1] = ["chmod -R of a base subtree"];
const SED: [&str; 1] = ["sed -i over a base subtree"];
const MOVE: [&str; 1] = ["mv of a base directory"];
const REMOVE: [&str; 1] = ["rm -rf of a base subtree"];

/// The rows.
pub static GROUPS: [Group; 11] = [
    Group { rows: &FIND, run: find },
    Group { rows: &TAR, run: tar },
    Group { rows: &GREP, run: grep },
    Group { rows: &UNTAR, run: untar },
    Group { rows: &APPEND, run: append },
    Group { rows: &HUGE, run: huge },
    Group { rows: &TOUCH, run: |scene| change(scene, TOUCH, "touch", "-exec touch {} +") },
    Group { rows: &CHMOD, run: |scene| change(scene, CHMOD, "chmod", "-exec chmod go-rwx {} +") },
    Group { rows: &SED, run: |scene| change(scene, SED, "sed", "-exec sed -i s/int/long/ {} +") },
    Group { rows: &MOVE, run: |scene| scene.shell(first(MOVE), "mv mv moved") },
    Group { rows: &REMOVE, run: |scene| scene.shell(first(REMOVE), "rm -rf src") },
];

/// Bytes of the huge file, which is one hole.
pub const HUGE_BYTES: u64 = 10 << 30;

fn first<const N: usize>(rows: [&'static str; N]) -> &'static str {
    rows.first().copied().unwrap_or_default()
}

/// Makes the tree.
///
/// # Errors
/// What the file system says.
pub fn make(base: &Path, size: &Size, archive: Option<&Path>) -> io::Result<()> {
    let src = base.join("src");
    sources::make(&src, size.sources, archive)?;
    for part in ["touch", "chmod", "sed", "mv"] {
        sources::copy_part(&src, &base.join(part), size.part)?;
    }
    crate::tree::fill(&base.join("append"), size.append)?;
    fs::File::create(base.join("huge"))?.set_len(HUGE_BYTES)
}

fn find(scene: &mut Scene) -> io::Result<()> {
    client::have_forgotten(3)?;
    for row in FIND {
        scene.shell(row, "find src -printf '%p %s %m %u %T@\\n'")?;
    }
    Ok(())
}

fn tar(scene: &mut Scene) -> io::Result<()> {
    client::have_forgotten(3)?;
    // tar reads nothing when it sees that /dev/null is where it writes to.
    scene.shell(first(TAR), "tar -cf - src | cat")
}

fn grep(scene: &mut Scene) -> io::Result<()> {
    let script = "grep -r 'no such text' src || test $? = 1";
    // The first pass: not measured.
    std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(&scene.job.root)
        .stdout(std::process::Stdio::null())
        .status()?;
    scene.shell(first(GREP), script)
}

fn untar(scene: &mut Scene) -> io::Result<()> {
    let [made, removed] = UNTAR;
    fs::create_dir(scene.at("untarred"))?;
    let archive = scene.job.shared.join("sources.tar");
    let archive = archive.display();
    scene.shell(made, &format!("tar -xf '{archive}' --no-same-owner -C untarred"))?;
    scene.shell(removed, "rm -rf untarred")
}

fn append(scene: &mut Scene) -> io::Result<()> {
    client::have_forgotten(2)?;
    let path = scene.at("append");
    scene.once(first(APPEND), || fs::OpenOptions::new().append(true).open(path)?.write_all(b"x"))
}

fn huge(scene: &mut Scene) -> io::Result<()> {
    let row = first(HUGE);
    if scene.job.spare_huge {
        return client::skip(
            row,
            "this system may fill 10 GiB with it: only with --full, and 12 GiB free",
        );
    }
    let path = scene.at("huge");
    scene.once(row, || {
        fs::OpenOptions::new().write(true).open(path)?.write_all_at(b"x", HUGE_BYTES / 2)
    })
}

/// Times what find does to every file of a subtree that nobody has looked at.
fn change(scene: &Scene, row: [&'static str; 1], dir: &str, action: &str) -> io::Result<()> {
    scene.shell(first(row), &format!("find {dir} -type f {action}"))
}
