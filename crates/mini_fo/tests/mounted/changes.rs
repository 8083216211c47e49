//! `mini_fo status` and `mini_fo diff`, after real programs were at work in the mount.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::common::{
    Scene, WorkDir, is_root, mini_fo, record, run, sh, skip, skip_unless, standard_base, sys,
};

/// Everything below a directory but times of directories and of access: by path, type and
/// content first.
pub fn observe(root: &Path) -> BTreeMap<String, String> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("readdir") {
            let path = entry.expect("readdir").path();
            let meta = path.symlink_metadata().expect("lstat");
            let (content, time) = match meta.file_type() {
                kind if kind.is_dir() => (String::new(), None),
                kind if kind.is_symlink() => (
                    format!("{:?}", fs::read_link(&path).expect("readlink")),
                    Some(meta.mtime_nsec()),
                ),
                kind if kind.is_file() => {
                    let bytes = fs::read(&path).expect("read");
                    (String::from_utf8_lossy(&bytes).into_owned(), Some(meta.mtime_nsec()))
                }
                _ => (format!("{}", meta.rdev()), Some(meta.mtime_nsec())),
            };
            let attributes = (meta.uid(), meta.gid(), time, time.map(|_| meta.mtime()));
            let xattrs = if meta.is_symlink() { Vec::new() } else { sys::xattrs(&path) };
            let shown = format!("{:o} {attributes:?} {xattrs:?} {content}", meta.mode());
            let name =
                path.strip_prefix(root).expect("below it").to_str().expect("UTF-8").to_owned();
            found.insert(name, shown);
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    found
}

/// A member of a line of JSON, as text. Of escapes only those of the names below.
fn member(line: &str, name: &str) -> Option<String> {
    let mut rest = line.split_once(&format!("\"{name}\":\""))?.1.chars();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => match rest.next()? {
                'u' => {
                    let code: String = rest.by_ref().take(4).collect();
                    value.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
}

/// What `status` says has happened is what a comparison of both trees says, each path once.
pub fn compare(
    storage: &Path,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) {
    let storage = storage.to_str().expect("UTF-8");
    let text = mini_fo(&["status", "--json", "--all", "--links", storage]);
    assert_eq!(text.code, i32::from(before != after), "{}", text.stderr);
    let mut told = BTreeMap::new();
    let mut froms = Vec::new();
    for line in text.stdout.lines() {
        let kind = member(line, "kind").expect("a kind");
        let Some(path) = member(line, "path") else { continue };
        let from = member(line, "from");
        if kind == "renamed" {
            froms.extend(from.clone());
        }
        let gone = kind == "deleted";
        let path = if gone { from.clone().unwrap_or(path) } else { path };
        let before = told.insert((gone, path.clone()), (kind, from));
        assert!(before.is_none(), "{path} is told twice");
    }
    for (path, now) in after {
        let told = told.remove(&(false, path.clone()));
        let from = told.as_ref().and_then(|(_, from)| from.clone()).unwrap_or(path.clone());
        let was = before.get(&from).filter(|_| told.as_ref().is_none_or(|told| told.0 != "added"));
        match (&told, was) {
            (None, was) => assert_eq!(was, Some(now), "{path} is not told"),
            (Some((kind, _)), None) => assert_eq!(kind, "added", "{path}"),
            (Some((kind, _)), Some(was)) if kind != "renamed" => {
                assert_ne!(was, now, "{path} is told, and has not changed");
            }
            _ => {}
        }
    }
    for path in before.keys() {
        let gone = told.remove(&(true, path.clone())).is_some();
        let stays = after.contains_key(path) || froms.contains(path);
        assert!(gone || stays, "the deletion of {path} is not told");
    }
    assert!(told.is_empty(), "told, and not so: {told:?}");
}

/// Files and links: what git knows.
pub fn git_tree(root: &Path) -> Vec<(String, bool, String)> {
    let all = observe(root).into_keys().filter_map(|name| {
        let path = root.join(&name);
        let meta = path.symlink_metadata().expect("lstat");
        let content = match meta.file_type() {
            kind if kind.is_symlink() => {
                format!("-> {:?}", fs::read_link(&path).expect("readlink"))
            }
            kind if kind.is_file() => {
                String::from_utf8_lossy(&fs::read(&path).expect("read")).into_owned()
            }
            _ => return None,
        };
        Some((name, meta.is_file() && meta.mode() & 0o100 != 0, content))
    });
    all.collect()
}

/// `diff` as a patch makes of a copy of what is below what the mount shows.
pub fn apply(scene: &Scene, base: &Path, shown: &[(String, bool, String)]) {
    let storage = scene.storage.to_str().expect("UTF-8");
    let work = scene.work.dir("applied");
    sh(&work, &format!("cp -a {} copy", base.display()));
    let patch = mini_fo(&["diff", "--binary", storage]);
    assert_eq!(patch.code, 1, "{}", patch.stderr);
    // What a patch holds need not be UTF-8.
    let program = env!("CARGO_BIN_EXE_mini_fo");
    sh(&work, &format!("{program} diff --binary {storage} > patch || true"));
    sh(&work.join("copy"), "GIT_CEILING_DIRECTORIES=$(dirname $PWD) git apply ../patch");
    assert_eq!(git_tree(&work.join("copy")), shown);
}

/// Changes a mount by a script, and then compares what is told.
pub fn after(prepare: &str, script: &str) {
    let Some(mut scene) = Scene::new(|base| drop(sh(base, prepare))) else { return };
    let before = observe(&scene.quiet_base());
    sh(&scene.mnt, script);
    let (now, shown) = (observe(&scene.mnt), git_tree(&scene.mnt));
    scene.umount();
    // Once before, so that this look moves no time of access any more.
    record(&scene.storage);
    let storage = record(&scene.storage);
    compare(&scene.storage, &before, &now);
    apply(&scene, &scene.quiet_base(), &shown);
    assert!(record(&scene.storage) == storage, "the storage was touched");
}

#[test]
fn a_repository_changes_its_branch() {
    if skip_unless(&["git"]) {
        return;
    }
    after(
        "export GIT_DIR=repo GIT_WORK_TREE=.; git init -q -b one && git config user.email a@b && git config user.name c
         mkdir src doc && seq 200 > src/main && seq 50 > doc/text && echo repo > .gitignore && git add . && git commit -qm one
         git checkout -qb two && sed -i 's/^7$/seven/' src/main && git mv doc/text doc/other
         echo new > src/new && git add . && git commit -qm two && git checkout -q one",
        "GIT_DIR=repo GIT_WORK_TREE=. git checkout -q two",
    );
}

#[test]
fn names_content_and_attributes() {
    after(
        "mkdir -p a/b/c d/e f && seq 100 > a/b/x && seq 9 > a/y && echo z > d/e/z && echo q > f/q
         head -c 70000 /dev/urandom > big && head -c 3000 /dev/urandom > d/bin && touch empty
         printf 'no end' > noend && ln a/y f/link && ln -s a/y soft && echo s > 'sp ace'",
        "mv a moved && sed -i s/50/fifty/ moved/b/x && rm -r d && mkdir d && echo new > d/new
         chmod 600 big && echo more >> f/link && printf other > noend && ln -sfn d soft
         mv 'sp ace' 'other name' && rm empty && touch empty2 && echo 'tab' > $'t\\tab'
         head -c 5000 /dev/urandom > f/bin && rm -r f/q && mkdir f/q && echo 1 > f/q/1
         chmod +x noend && echo '\"' > '\"quoted\"' && mv moved/y moved/b/c/y && mkdir new",
    );
}

/// `patch` makes of a copy of the base what the mount shows, empty directories aside.
#[test]
fn patch_takes_texts_links_and_renames() {
    if skip_unless(&["patch"]) {
        return;
    }
    let Some(scene) = Scene::new(|base| {
        sh(
            base,
            "mkdir -p a/b 'sp aces' && seq 100 > a/b/x && seq 9 > 'sp aces/y' && echo s > 'sp ace'
             printf 'no end' > noend && ln -s a soft && ln noend other && touch 'emp ty' \"q'\"",
        );
    }) else {
        return;
    };
    sh(
        &scene.mnt,
        "mv a moved && sed -i s/50/fifty/ moved/b/x && mv 'sp ace' 'other name' && rm 'emp ty'
         touch 'new empty' && echo q > \"q'\" && ln -sfn moved soft && chmod +x 'sp aces/y'
         printf more >> noend && echo 't' > $'t\\tab' && mv 'sp aces' 'sp  two' && rm other",
    );
    let copy = scene.work.0.join("copy");
    sh(&scene.work.0, &format!("cp -a {} copy", scene.quiet_base().display()));
    let (program, mnt) = (env!("CARGO_BIN_EXE_mini_fo"), scene.mnt.display());
    let said = sh(&copy, &format!("({program} diff {mnt} || true) | patch -p1"));
    assert_eq!(git_tree(&copy), git_tree(&scene.mnt), "{said}");
}

#[test]
fn an_archive_is_unpacked_over_itself() {
    after(
        "mkdir -p x/y && seq 100 > x/1 && seq 200 > x/y/2 && tar cf t.tar x && seq 300 > x/3",
        "rm -r x && tar xf t.tar && echo 4 > x/y/4",
    );
}

#[test]
fn a_package_is_unpacked() {
    if skip_unless(&["dpkg-deb"]) {
        return;
    }
    after(
        "mkdir -p p/DEBIAN p/usr/bin p/usr/share/p && printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@m>\\nDescription: d\\n' > p/DEBIAN/control
         echo run > p/usr/bin/p && chmod 755 p/usr/bin/p && seq 99 > p/usr/share/p/data
         dpkg-deb -b p p.deb > /dev/null && rm -r p && mkdir -p usr/bin && echo old > usr/bin/p",
        "dpkg -x p.deb .",
    );
}

#[test]
fn a_python_package_is_installed() {
    if skip_unless(&["python3"]) || run("python3", &["-m", "pip", "--version"]).code != 0 {
        return;
    }
    after(
        "mkdir -p lib/old pkg/one && echo 'x = 1' > pkg/one/__init__.py && seq 20 > lib/old/data
         printf '[build-system]\\nrequires = []\\nbuild-backend = \"own\"\\nbackend-path = [\".\"]\\n' > pkg/pyproject.toml
         cat > pkg/own.py <<'E'
import zipfile
def build_wheel(to, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(to + '/one-1-py3-none-any.whl', 'w') as z:
        z.write('one/__init__.py')
        z.writestr('one-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: one\\nVersion: 1\\n')
        z.writestr('one-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr('one-1.dist-info/RECORD', '')
    return 'one-1-py3-none-any.whl'
E",
        "python3 -m pip install -q --no-index --no-build-isolation --no-deps --root-user-action=ignore --target lib ./pkg && test -f lib/one/__init__.py",
    );
}

#[test]
fn a_javascript_package_is_installed() {
    if skip_unless(&["npm"]) {
        return;
    }
    after(
        "mkdir -p dep app/node_modules/gone && echo '{\"name\":\"dep\",\"version\":\"1.0.0\"}' > dep/package.json
         echo 'module.exports = 1' > dep/index.js && echo '{\"name\":\"app\",\"version\":\"1.0.0\"}' > app/package.json
         echo old > app/node_modules/gone/file",
        "export HOME=$PWD npm_config_cache=$PWD/cache; tar czf dep.tgz --transform 's,^dep,package,' dep && cd app
         npm install --offline --no-audit --no-fund ../dep.tgz > /dev/null && test -f node_modules/dep/index.js",
    );
}

#[test]
fn nothing_trouble_and_a_live_mount() {
    let Some(mut scene) = Scene::new(standard_base) else { return };
    let storage = scene.storage.to_str().expect("UTF-8").to_owned();
    let mnt = scene.mnt.to_str().expect("UTF-8").to_owned();
    sh(&scene.mnt, "exec 3>>g");
    mini_fo(&["status", &storage]).fails(2, &["it is mounted at", &mnt]);
    assert_eq!(mini_fo(&["status", &mnt]).ok(), "nothing has changed\n");
    scene.umount();
    assert_eq!(mini_fo(&["status", &storage]).ok(), "nothing has changed\n");
    assert_eq!(mini_fo(&["diff", &storage]).ok(), "");
    let base = scene.base.to_str().expect("UTF-8");
    mini_fo(&["status", base]).fails(2, &["name that with --base"]);
    mini_fo(&["status", "/nonexistent"]).fails(2, &["No such file"]);
    scene.mount(&[]);
    sh(&scene.mnt, "rm -r d; chmod 600 g; echo more >> f");
    scene.umount();
    let told = mini_fo(&["status", &storage]);
    assert_eq!(told.code, 1);
    let lines: Vec<&str> = told.stdout.lines().collect();
    let expected =
        ["deleted     d/", "modified    f  (18 B -> 23 B)", "attributes  g  (mode 0644 -> 0600)"];
    assert_eq!(lines.get(..3), Some(&expected[..]), "{lines:?}");
    let part = mini_fo(&["diff", "--name-status", &storage, "d/sub"]);
    assert_eq!(part.stdout, "D\td/sub/deep/four\nD\td/sub/three\n");
    let raw = mini_fo(&["status", "-z", &storage]);
    assert_eq!(raw.stdout, "D d\0M f\0P g\0");
}

#[test]
fn upper_directories_of_the_kernel() {
    if !is_root() {
        skip("mounting overlayfs needs root");
        return;
    }
    let work = WorkDir::new();
    let (base, upper) = (work.dir("base"), work.dir("over/upper"));
    work.dir("over/work");
    work.dir("mnt");
    sh(&base, "mkdir -p a/b d && seq 9 > a/b/x && seq 99 > a/y && echo z > d/z && echo w > w");
    let before = observe(&base);
    let options = "redirect_dir=on,metacopy=on,lowerdir=base,upperdir=over/upper,workdir=over/work";
    let mount = format!("cd {} && mount -t overlay -o {options} overlay mnt", work.0.display());
    if run("bash", &["-c", &mount]).code != 0 {
        skip("no overlayfs here");
        return;
    }
    let mnt = work.0.join("mnt");
    sh(
        &mnt,
        "mv a moved && echo 1 >> moved/b/x && chmod 600 moved/y && rm -r d && mkdir d && echo n > d/n && rm w",
    );
    let now = observe(&mnt);
    sh(&work.0, "umount mnt");
    let (base, upper) = (base.to_str().expect("UTF-8"), upper.to_str().expect("UTF-8"));
    let told = mini_fo(&["status", "--base", base, upper]);
    assert_eq!(told.code, 1, "{}", told.stderr);
    let lines: Vec<&str> = told.stdout.lines().collect();
    let expected = [
        "added       d/n  (2 B)",
        "deleted     d/z  (2 B)",
        "renamed     a/ -> moved/",
        "modified    moved/b/x  (18 B -> 20 B)",
        "attributes  moved/y  (mode 0644 -> 0600)",
        "deleted     w  (2 B)",
    ];
    assert_eq!(lines.get(..6), Some(&expected[..]), "{lines:?}");
    assert_ne!(before, now);
}
