//! `mini_fo status` and `mini_fo diff` of trees that users have: a system in which a package
//! is installed, an image of several layers; and on a terminal.

use std::fs;

use crate::changes::{after, apply, compare, git_tree, observe};
use crate::common::{Scene, is_root, mini_fo, record, run, sh, skip, skip_unless};

/// A system that can install packages, made of this one's programs. `into PROGRAM` brings in
/// one more, in what follows.
pub const SYSTEM: &str = r#"
    programs="sh bash cat chmod cp dash diff egrep false grep ln ls mkdir mv pwd rm rmdir sed sync tar touch true
      dpkg dpkg-deb dpkg-divert dpkg-query dpkg-split dpkg-statoverride apt-get apt-config apt-cache start-stop-daemon ldconfig"
    copy() { mkdir -p ".${1%/*}" && cp -L "$1" ".$1"; }
    # A program, and the libraries that it is linked with.
    into() {
        copy "$1"
        ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r lib; do [ -e ".$lib" ] || copy "$lib"; done
    }
    for program in $programs; do
        path=$(type -P "$program") || continue
        into "$path"
    done
    for path in /usr/lib/apt/methods/file /usr/lib/apt/methods/copy /usr/lib/apt/methods/store /usr/lib/apt/methods/gpgv; do
        [ -e "$path" ] || continue
        into "$path"
    done
    mkdir -p etc/apt/apt.conf.d etc/apt/preferences.d etc/dpkg var/lib/dpkg/info var/lib/dpkg/updates \
        var/lib/apt/lists/partial var/cache/apt/archives/partial var/log/apt usr/share/dpkg tmp dev usr/local/bin
    [ -e bin/sh ] || { mkdir -p bin && cp -L /bin/sh bin/sh; }
    cp -r /usr/share/dpkg/. usr/share/dpkg/
    touch etc/apt/sources.list var/lib/dpkg/available
    printf 'root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n' > etc/passwd
    printf 'root:x:0:\nnogroup:x:65534:\n' > etc/group
    printf 'APT::Sandbox::User "root";\nDir::Log::Terminal "";\n' > etc/apt/apt.conf
    printf 'Package: tool\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: m <m@m>\nArchitecture: all\nVersion: 1\nConffiles:\n /etc/tool.conf 26ab0db90d72e28ad0ba1e22ee510510\nDescription: d\n\n' > var/lib/dpkg/status
    printf '/.\n/etc\n/etc/tool.conf\n/usr\n/usr/share\n/usr/share/tool\n/usr/share/tool/old\n/usr/share/tool/data\n' > var/lib/dpkg/info/tool.list
    mkdir -p usr/share/tool && echo 2 > etc/tool.conf && echo old > usr/share/tool/old && seq 50 > usr/share/tool/data
    mkdir -p p/DEBIAN p/usr/bin p/usr/share/tool p/etc
    printf 'Package: tool\nVersion: 2\nArchitecture: all\nMaintainer: m <m@m>\nDescription: d\n' > p/DEBIAN/control
    echo /etc/tool.conf > p/DEBIAN/conffiles
    printf '#!/bin/sh\nset -e\nmkdir -p /var/lib/tool\necho configured > /var/lib/tool/state\nln -sf tool /usr/bin/tool-link\n' > p/DEBIAN/postinst
    chmod 755 p/DEBIAN/postinst
    echo 3 > p/etc/tool.conf && seq 60 > p/usr/share/tool/data && echo run > p/usr/bin/tool && chmod 755 p/usr/bin/tool
    dpkg-deb --root-owner-group -b p tool.deb > /dev/null && rm -r p
"#;

#[test]
fn a_package_is_installed_by_apt_in_a_chroot() {
    if !is_root() {
        skip("chroot needs root");
        return;
    }
    if skip_unless(&["apt-get", "dpkg-deb", "ldd", "git"]) {
        return;
    }
    after(
        SYSTEM,
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot . apt-get install -qq -y -o Dpkg::Use-Pty=0 /tool.deb > log 2>&1 || { cat log; exit 1; }
         test \"$(cat var/lib/tool/state)\" = configured && test ! -e usr/share/tool/old && test \"$(cat etc/tool.conf)\" = 3",
    );
}

/// What the layers of an image show together is what changes are told against.
#[test]
fn an_image_of_several_layers() {
    if skip_unless(&["git"]) {
        return;
    }
    let Some(mut scene) = Scene::new(|base| {
        sh(
            base,
            "mkdir -p app/lib etc && seq 9 > app/lib/one && echo a > etc/a && echo gone > etc/gone && seq 40 > app/main",
        );
    }) else {
        return;
    };
    scene.umount();
    let work = scene.work.0.clone();
    sh(
        &work,
        "mkdir -p two/app/lib two/etc three/app/new merged
         echo 2 > two/app/lib/two && touch two/etc/.wh.gone && echo b > two/etc/b && seq 45 > two/app/main
         mkdir -p three/app/lib && touch three/app/lib/.wh..wh..opq && echo only > three/app/lib/only && echo n > three/app/new/n",
    );
    let path = |name: &str| work.join(name).to_str().expect("UTF-8").to_owned();
    let (top, middle, bottom) = (path("three"), path("two"), scene.base.to_str().unwrap());
    let (mnt, merged) = (scene.mnt.to_str().expect("UTF-8"), path("merged"));
    let storage = scene.storage.to_str().expect("UTF-8");
    sh(&scene.storage, "find . -mindepth 1 -delete");
    mini_fo(&["mount", &format!("{top}:{middle}:{bottom}"), &merged, "-r"]).ok();
    let before = observe(&work.join("merged"));
    sh(&work, "cp -a merged image");
    mini_fo(&["umount", &merged]).ok();
    assert!(before.contains_key("app/lib/only") && !before.contains_key("app/lib/one"));
    mini_fo(&["mount", &top, mnt, "--storage", storage, "--under", &middle, "--under", bottom])
        .ok();
    sh(
        &scene.mnt,
        "mv app/lib app/moved && echo 1 >> app/main && rm etc/a && echo back > etc/gone && chmod 700 app/new && mkdir app/lib && echo x > app/lib/one",
    );
    let (now, shown) = (observe(&scene.mnt), git_tree(&scene.mnt));
    mini_fo(&["umount", mnt]).ok();
    record(&scene.storage);
    let untouched = record(&scene.storage);
    compare(&scene.storage, &before, &now);
    apply(&scene, &work.join("image"), &shown);
    assert!(record(&scene.storage) == untouched, "the storage was touched");
}

/// Access lists and attributes are told, and what is no file becomes one.
#[test]
fn lists_of_access_and_changes_of_type() {
    if skip_unless(&["setfacl", "git"]) {
        return;
    }
    after(
        "seq 9 > f && mkdir -p d/sub e && echo 1 > d/sub/1 && echo q > g && ln -s f link && ln -s e dirlink && setfacl -m u:7:rw g",
        "setfacl -m u:8:r f && setfacl -d -m g:9:rwx e && setfacl -b g && rm -r d && ln -s f d
         rm link && mkdir link && echo in > link/in && rm dirlink && echo now > dirlink",
    );
}

/// On a terminal there are colours, and a pager unless it is unwanted.
#[test]
fn a_terminal_gets_colours_and_a_pager() {
    if skip_unless(&["script"]) {
        return;
    }
    let Some(scene) = Scene::new(|base| drop(sh(base, "seq 9 > f"))) else { return };
    sh(&scene.mnt, "echo 10 >> f");
    let pager = scene.work.0.join("pager");
    fs::write(&pager, "#!/bin/sh\necho begin\ncat\necho end\n").expect("written");
    sh(&scene.work.0, "chmod +x pager");
    let (mnt, pager) = (scene.mnt.display(), pager.display());
    let program = env!("CARGO_BIN_EXE_mini_fo");
    let on_terminal = |variables: &str, command: &str| {
        let line = format!("env {variables} {program} {command} {mnt}");
        let said = run("script", &["-qec", &line, "/dev/null"]);
        assert_eq!(said.code, 1, "{}", said.stdout);
        said.stdout.replace('\r', "")
    };
    for command in ["status", "diff"] {
        let told = on_terminal(&format!("TERM=xterm PAGER={pager}"), command);
        assert!(
            told.contains("\x1b[") && told.contains("begin\n") && told.contains("end\n"),
            "{told:?}"
        );
        let told = on_terminal(&format!("TERM=xterm NO_COLOR=1 PAGER={pager}"), command);
        assert!(!told.contains('\x1b') && told.contains("begin\n"), "{told:?}");
        let told =
            on_terminal(&format!("TERM=dumb PAGER={pager}"), &format!("{command} --no-pager"));
        assert!(!told.contains('\x1b') && !told.contains("begin"), "{told:?}");
    }
    let mnt = scene.mnt.to_str().expect("UTF-8");
    assert!(!mini_fo(&["status", mnt]).stdout.contains('\x1b'));
}
