use super::*;
use crate::request::MountRequest;
use mini_fo_core::DialectName;
use rustix::mount::MountFlags;
use std::path::Path;

fn line(words: &[&str]) -> Line {
    read(words.iter().map(OsString::from)).unwrap()
}

fn options(list: &str) -> Options {
    Options::read(&[list.into()]).unwrap()
}

fn request(words: &[&str]) -> MountRequest {
    let line = line(words);
    let options = Options::read(&line.lists).unwrap();
    match order(line, options) {
        Ok(Order::Mount(request)) => *request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn as_engines_call_it() {
    let work = tempfile::TempDir::new().unwrap();
    let upper = work.path().canonicalize().unwrap().join("u");
    std::fs::create_dir(&upper).unwrap();
    let list = format!("lowerdir=/n/a:/n/b,upperdir={},workdir=/,nodev", upper.display());
    let words = ["-o", &list, "/n/m"];
    for words in [words.to_vec(), vec!["-f", words[0], words[1], words[2]]] {
        let request = request(&words);
        let layers: Vec<_> = std::iter::once(&request.layers.first)
            .chain(&request.layers.under)
            .map(|layer| (layer.path.as_path(), layer.dialect))
            .collect();
        let oci = Some(DialectName::Oci);
        let lowers = [Path::new("/n/a"), Path::new("/n/b")];
        assert_eq!(layers, [(&*upper, oci), (lowers[0], oci), (lowers[1], oci)]);
        assert!(request.storage.starts_with(&upper));
        assert_eq!(request.mountpoint, Path::new("/n/m"));
        assert_eq!(request.source, "fuse-overlayfs");
        assert_eq!(request.flags, MountFlags::NODEV | MountFlags::NOATIME);
        assert_eq!(request.foreground, words.len() == 4);
        assert!(request.writes_late);
    }
    let readonly = request(&["-olowerdir=/n/a", "/n/m"]);
    assert!(readonly.flags.contains(MountFlags::RDONLY));
    assert_eq!(readonly.storage, Path::new(""));
}

#[test]
fn whose_command_line_it_is() {
    let meant = |words: &[&str]| is_meant(&words.iter().map(OsString::from).collect::<Vec<_>>());
    assert!(meant(&["-o", "lowerdir=/a,upperdir=/u", "/m"]));
    assert!(meant(&["-f", "-o", "volatile,lowerdir=/a", "/m"]));
    assert!(!meant(&["mount", "/a", "/m", "-o", "lowerdir=/a"]));
    assert!(!meant(&["--version"]));
    assert!(!meant(&["-o", "base=/a", "/m"]));
}

#[test]
fn paths_with_separators() {
    let read = options(r"lowerdir=/a\:b:/c\,d:/e\072f:/g\\h,upperdir=/u\,v");
    assert_eq!(read.lowers, ["/a:b", "/c,d", "/e:f", r"/g\h"].map(PathBuf::from));
    assert_eq!(read.upper.as_deref(), Some(Path::new("/u,v")));
}

#[test]
fn owners_are_translated_as_there() {
    let ids = |list: &str| {
        let items = options(list).items;
        let ids = items.iter().filter_map(|item| match item.opt {
            crate::options::Opt::Ids(opt) => {
                Some(format!("{opt:?} {}", item.value.clone().unwrap().display()))
            }
            _ => None,
        });
        ids.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(ids("uidmapping=:0:1000:1:1:110000:65536"), "UidMap 1000:0:1/110000:1:65536");
    assert_eq!(ids("gidmapping=0:5:9,uidmapping=0:1:2"), "UidMap 1:0:2, GidMap 5:0:9");
    assert_eq!(ids("squash_to_root,squash_to_uid=7,uidmapping=0:1:2"), "SquashUid 7, SquashGid 0");
    for bad in ["uidmapping=", "uidmapping=0:1", "gidmapping=0:1:2:3"] {
        assert!(Options::read(&[bad.into()]).is_err(), "{bad}");
    }
}

#[test]
fn what_else_there_is() {
    let read = options(
        "lowerdir=/a,redirect_dir=off,timeout=5,threaded=0,static_nlink,xattr_permissions=2,\
         noacl,context=\"system_u:object_r:t:s0:c1,c2\",whatever=1,base=/b,blocks_from=4M",
    );
    assert_eq!(read.unknown, ["whatever", "base"]);
    assert!(read.no_acl);
    assert_eq!(read.context.as_deref(), Some(OsStr::new("system_u:object_r:t:s0:c1,c2")));
    let opts: Vec<_> = read.items.iter().map(|item| item.opt).collect();
    assert!(opts.contains(&crate::options::Opt::BlocksFrom));
    for volatile in ["volatile", "fsync=0"] {
        assert!(options(volatile).items.iter().any(|i| i.opt == crate::options::Opt::Volatile));
    }
    assert!(Options::read(&["plugins=x".into()]).is_err());
}

#[test]
fn mistakes_are_named() {
    let message = |words: &[&str]| {
        let line = read(words.iter().map(OsString::from));
        line.and_then(|line| {
            let options = Options::read(&line.lists)?;
            order(line, options)
        })
        .unwrap_err()
        .message
    };
    assert!(message(&["-o", "lowerdir=/a"]).contains("mount point"));
    assert!(message(&["/m"]).contains("lowerdir"));
    assert!(message(&["-o"]).contains("-o needs a value"));
    assert!(message(&["-x", "/m"]).contains("'-x'"));
    assert!(message(&["-olowerdir=/a,upperdir=/u,workdir=/n/w", "/m"]).contains("workdir /n/w"));
}
