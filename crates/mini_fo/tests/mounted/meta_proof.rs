//! What passes for META of a storage, and for its unfinished work: not what somebody
//! else has called so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{META, Outcome, have, is_root, mini_fo, sh, skip, standard_base};
use crate::stack::{Place, copy};

const BASE: i32 = 3;
const STORAGE: i32 = 4;
const FOUND: i32 = 11;

/// `mini_fo mount` of layers, with `-r` or on a storage.
fn mount(place: &Place, layers: &[&Path], more: &[&str]) -> Outcome {
    let (first, under) = layers.split_first().unwrap();
    let mut args: Vec<PathBuf> = vec!["mount".into(), first.into(), place.at("mnt")];
    args.extend(under.iter().flat_map(|dir| ["--under".into(), PathBuf::from(dir)]));
    args.extend(more.iter().map(PathBuf::from));
    mini_fo(&args)
}

/// Mounts, runs a script in the mount, unmounts; what the script and the mount said.
fn mounted(place: &Place, layers: &[&Path], more: &[&str], script: &str) -> String {
    let log = place.at("log");
    let _ = fs::remove_file(&log);
    let more: Vec<&str> = more.iter().copied().chain(["--log", log.to_str().unwrap()]).collect();
    mount(place, layers, &more).ok();
    let shown = sh(&place.at("mnt"), script);
    mini_fo(&["umount".into(), place.at("mnt")]).ok();
    format!("{shown}{}", fs::read_to_string(&log).unwrap_or_default())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A file that nobody else can have written, as META must be.
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A base, and a directory that no mount is to show.
fn scene() -> Option<(Place, PathBuf, PathBuf)> {
    let place = Place::new()?;
    let (base, secret) = (place.dir("base"), place.dir("secret"));
    standard_base(&base);
    fs::write(secret.join("key"), "secret").unwrap();
    Some((place, base, secret))
}

#[test]
fn a_file_of_a_base_leads_nowhere() {
    let Some((place, base, secret)) = scene() else { return };
    let storage = place.dir("storage");
    let record = format!("b 0 0 {}\n", secret.display());
    write(&base.join("x"), &record);
    write(&base.join("y"), &format!("{record}t 1 1.000000000\n"));
    write(&base.join("z"), &format!("t 2 0.000000000\n{record}"));
    let script = "test ! -e key; test -e x; test -e y; test -e z; test -e f";
    mounted(&place, &[&base], &["-r"], script);
    mounted(&place, &[&base], &["--storage", text(&storage)], script);
    let more = place.dir("more");
    mounted(&place, &[&base, &more], &["-r"], script);
    // Under the usual name it is META, and whose it is tells nothing of what is below it.
    for said in [record.clone(), format!("{record}t 1 1.000000000\n"), "t 1 1.000000000\n".into()] {
        write(&base.join(META), &said);
        for more in [&["-r"][..], &["--storage", text(&storage), "--accept-base"]] {
            let refused = mount(&place, &[&base], more);
            refused.fails(BASE, &["layer", text(&base), "--under", "dialect=plain"]);
        }
        let script = "test ! -e key; test -e f";
        mounted(&place, &[&base], &["-r", "-o", "dialect=plain"], script);
        mounted(&place, &[&base, &more], &["-r"], script);
    }
}

#[test]
fn a_file_in_a_storage_gives_no_advice() {
    let Some((place, base, secret)) = scene() else { return };
    let storage = place.dir("storage");
    write(&storage.join("x"), &format!("b 0 0 {}\n", secret.display()));
    let said = mount(&place, &[&base], &["-s", text(&storage)]);
    let said = said.fails(STORAGE, &["nothing in it says"]);
    assert!(!said.stderr.contains("'x'"), "{said:?}");
    // One of 2005 with another name, in which somebody has a file of the usual name.
    fs::remove_file(storage.join("x")).unwrap();
    write(&storage.join("mine"), "D f\n");
    write(&storage.join(META), "D g\n");
    let more = ["-s", text(&storage), "-o", "meta_name=mine"];
    mounted(&place, &[&base], &more, &format!("test ! -e f; test -e g; test -e {META}"));
}

#[test]
fn a_file_called_as_another_meta_displaces_none() {
    let Some((place, base, secret)) = scene() else { return };
    let (one, two) = (place.dir("one"), place.dir("two"));
    mounted(&place, &[&base], &["-s", text(&one)], "rm f; echo 1 > g");
    write(&one.join("mine"), &format!("b 0 0 {}\nD g\n", secret.display()));
    let script = "test ! -e f; test -e g; test ! -e key";
    for layers in [&[&*one][..], &[&one, &base]] {
        mounted(&place, layers, &["-r", "-o", "meta_name=mine"], script);
        mounted(&place, layers, &["-r", "-o", "meta_name=mine,dialect=mini_fo"], script);
        let said = mount(&place, layers, &["-s", text(&two), "-o", "meta_name=mine"]);
        said.fails(STORAGE, &["'mine'", text(&one)]);
    }
    // The same with a file of the usual name in one whose META has another.
    let three = place.dir("three");
    let more = ["-s", text(&three), "-o", "meta_name=mine"];
    mounted(&place, &[&base], &more, &format!("rm f; echo 'D g' > {META}; chmod 600 {META}"));
    for layers in [&[&*three][..], &[&three, &base]] {
        for more in ["rw", "dialect=mini_fo", "meta_name=mine", "meta_name=mine,dialect=mini_fo"] {
            mounted(&place, layers, &["-r", "-o", more], script);
        }
    }
}

#[test]
fn a_copy_stands_on_what_is_named() {
    let Some((place, base, _)) = scene() else { return };
    let (storage, moved) = (place.dir("storage"), place.at("moved"));
    mounted(&place, &[&base], &["-s", text(&storage)], "rm f; echo 1 > new");
    let script = "test ! -e f; test -e g; test -e new";
    mounted(&place, &[&storage], &["-r"], script);
    let copied = place.at("copied");
    copy(&storage, &copied);
    mount(&place, &[&copied], &["-r"]).fails(BASE, &[text(&copied), "--under"]);
    mounted(&place, &[&copied, &base], &["-r"], script);
    // Moved it is the same.
    fs::rename(&storage, &moved).unwrap();
    mounted(&place, &[&moved], &["-r"], script);
    // Another directory where its base was.
    fs::rename(&base, place.at("old")).unwrap();
    copy(&place.at("old"), &base);
    mount(&place, &[&moved], &["-r"]).fails(BASE, &[text(&moved), text(&base), "--under"]);
    mounted(&place, &[&moved, &base], &["-r"], script);
    if !is_root() || !have("mksquashfs") {
        return skip("no squashfs");
    }
    let (image, at) = (place.at("image"), place.dir("at"));
    sh(&place.at(""), "mksquashfs moved image -quiet -no-progress >/dev/null");
    sh(&place.at(""), "mount -o loop,ro image at");
    let refused = mount(&place, &[&at], &["-r"]);
    let named = mount(&place, &[&at, &base], &["-r"]);
    let shown =
        crate::common::run("sh", &["-c", &format!("cd {}; {script}", text(&place.at("mnt")))]);
    mini_fo(&["umount".into(), place.at("mnt")]);
    sh(&place.at(""), "umount at");
    refused.fails(BASE, &[text(&at), "--under"]);
    assert_eq!((named.code, shown.code), (0, 0), "{named:?} {shown:?}");
    assert!(image.exists());
}

#[test]
fn files_that_look_like_unfinished_work_stay() {
    let Some((place, base, _)) = scene() else { return };
    let storage = place.dir("storage");
    let more = ["-s", text(&storage), "-o", "meta_name=app"];
    mounted(&place, &[&base], &more, "echo 1 > d/new");
    let theirs =
        ["app.2024-01-02", "app.1F-18ab0123456789ab-0", "app.1-18ab0123456789abc-0", "app.log"];
    for name in theirs {
        fs::write(storage.join("d").join(name), "mine").unwrap();
    }
    let ours = storage.join("d/app.1f-18ab0123456789ab-0");
    fs::write(&ours, "half a copy").unwrap();
    let checked = |name: &str| {
        let args = ["check", text(&base), "-s", text(&storage), "--meta-name", name];
        mini_fo(&args)
    };
    checked("app").fails(FOUND, &["problems"]);
    mounted(&place, &[&base], &more, "test -z \"$(ls -A d | grep app)\"");
    assert!(!ours.exists());
    for name in theirs {
        assert!(storage.join("d").join(name).exists(), "{name}");
    }
    let said = checked("app").fails(FOUND, &["1 problem"]).stdout;
    assert!(said.contains("4 names") && said.contains("begin with app"), "{said}");
    assert!(said.contains("/d/app."), "{said}");
}

#[test]
fn so_it_is_with_the_usual_name() {
    let Some((place, base, _)) = scene() else { return };
    let storage = place.dir("storage");
    mounted(&place, &[&base], &["-s", text(&storage)], "echo 1 > d/new");
    let theirs = ["_storage/x", ".x/x", ".1-2/x", "_index/1", "_reserve/0", "_lock/x"];
    for name in theirs {
        let path = storage.join(format!("d/{META}{name}"));
        fs::create_dir(path.parent().unwrap()).unwrap();
        write(&path.parent().unwrap().join(META), "D a\n");
        fs::write(path, "mine").unwrap();
    }
    let ours = storage.join(format!("d/{META}.1f-ab-0"));
    fs::write(&ours, "half a copy").unwrap();
    mounted(&place, &[&base], &["-s", text(&storage)], "test -z \"$(ls -A d | grep META)\"");
    assert!(!ours.exists());
    for name in theirs {
        let path = storage.join(format!("d/{META}{name}"));
        assert!(path.exists() && path.parent().unwrap().join(META).exists(), "{name}");
    }
}

#[test]
fn directories_of_others_are_no_reserve() {
    let Some((place, base, _)) = scene() else { return };
    for dir in ["app_reserve", "app_index", "app_lock"] {
        let storage = place.dir(&format!("storage{dir}"));
        write(&storage.join("app"), "D f\n");
        fs::create_dir(storage.join(dir)).unwrap();
        fs::set_permissions(storage.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(storage.join(dir).join("0"), "mine").unwrap();
        let said = mount(&place, &[&base], &["-s", text(&storage), "-o", "meta_name=app"]);
        said.fails(STORAGE, &[&format!("'{dir}'")]);
        assert_eq!(fs::read_to_string(storage.join(dir).join("0")).unwrap(), "mine");
    }
}

#[test]
fn a_layer_with_many_files_is_recognised_or_told() {
    let Some((place, base, _)) = scene() else { return };
    let (storage, other) = (place.dir("storage"), place.dir("other"));
    let make = "rm f; mkdir many; i=0; while [ $i -lt 1200 ]; do : > file$i; i=$((i+1)); done";
    mounted(&place, &[&base], &["-s", text(&storage), "-o", "meta_name=.m"], make);
    let script = "test ! -e f; test -e g; test -e file7; test ! -e .m";
    for layers in [&[&*storage][..], &[&storage, &base], &[&storage, &other, &base]] {
        mounted(&place, layers, &["-r"], script);
    }
    // A storage is closed. In a directory that is open, and is huge, nobody looks.
    sh(&storage, "i=0; while [ $i -lt 10000 ]; do : > more$i; i=$((i+1)); done");
    mounted(&place, &[&storage, &base], &["-r"], script);
    fs::set_permissions(&storage, fs::Permissions::from_mode(0o755)).unwrap();
    let said = mounted(&place, &[&storage, &base], &["-r"], "test -e f && echo plain || true");
    let told = said.contains(text(&storage)) && said.contains("dialect=mini_fo=NAME");
    assert_eq!(said.contains("plain\n"), told, "{said}");
    let said = mounted(&place, &[&storage, &base], &["-r", "-o", "dialect=mini_fo=.m"], script);
    assert!(!said.contains("dialect="), "{said}");
}

#[test]
fn names_that_a_base_gets_later_lock_nobody_out() {
    let Some((place, base, _)) = scene() else { return };
    let storage = place.dir("storage");
    let more = ["-s", text(&storage), "-o", "meta_name=app"];
    mounted(&place, &[&base], &more, "echo 1 > d/new");
    fs::write(base.join("app.conf"), "").unwrap();
    let said = mounted(&place, &[&base], &more, "test ! -e app.conf; test -e d/new");
    assert!(said.contains("1 of its names begin with app and are hidden"), "{said}");
    let args = ["check", text(&base), "-s", text(&storage), "--meta-name", "app"];
    let said = mini_fo(&args).fails(FOUND, &["1 problem"]).stdout;
    assert!(said.contains("begin with app"), "{said}");
    // A new one is refused.
    let new = place.dir("new");
    let said = mount(&place, &[&base], &["-s", text(&new), "-o", "meta_name=app"]);
    said.fails(STORAGE, &["'app.conf'"]);
}

#[test]
fn a_layer_that_was_replaced_is_told() {
    let Some((place, base, _)) = scene() else { return };
    let (top, storage) = (place.dir("top"), place.dir("storage"));
    let more = ["-s", text(&storage)];
    mounted(&place, &[&top, &base], &more, "rm f");
    fs::rename(&base, place.at("old")).unwrap();
    copy(&place.at("old"), &base);
    let args = ["check", text(&top), "-s", text(&storage), "--under", text(&base)];
    let checked = mini_fo(&args).fails(FOUND, &["1 problem"]).stdout;
    let said = mounted(&place, &[&top, &base], &more, "test ! -e f; test -e g");
    let line = format!("layer {}: another file system or directory", base.display());
    assert!(said.contains(&line) && checked.contains(&line), "{said}{checked}");
    let said = mounted(&place, &[&top, &base], &more, "test ! -e f");
    assert!(!said.contains("another file system"), "said once: {said}");
    // Of a storage that is a layer, too.
    fs::rename(&base, place.at("older")).unwrap();
    copy(&place.at("old"), &base);
    let said = mounted(&place, &[&storage, &top, &base], &["-r"], "test ! -e f; test -e g");
    assert!(said.contains(&line), "{said}");
}
