use mini_fo_core::*;
use std::fs;
use std::os::unix::fs::*;
fn list(o: &Overlay, n: NodeId) -> Vec<String> {
    let d = o.open_dir(n).unwrap();
    let mut v = vec![];
    o.read_dir(&d, 0, &mut |e| {
        v.push(String::from_utf8_lossy(e.name).into_owned());
        true
    })
    .unwrap();
    v.sort();
    v
}
#[test]
fn smoke() {
    let t = tempfile::tempdir().unwrap();
    let b = t.path().join("b");
    let s = t.path().join("s");
    fs::create_dir_all(b.join("d/e")).unwrap();
    fs::create_dir(&s).unwrap();
    fs::write(b.join("f"), "hello").unwrap();
    fs::write(b.join("d/g"), "gg").unwrap();
    fs::write(b.join("d/e/h"), "hh").unwrap();
    symlink("f", b.join("l")).unwrap();
    let op = || OpenOptions {
        base: b.clone(),
        storage: s.clone(),
        mountpoint: None,
        read_only: false,
        accept_other_base: false,
        write_despite_damage: false,
        volatile: false,
    };
    let c = Caller { uid: 0, gid: 0, umask: 0o22 };
    let o = Overlay::assemble(&op()).unwrap();
    let r = NodeId::ROOT;
    println!("{:?}", list(&o, r));
    let f = o.lookup(r, b"f").unwrap().unwrap();
    println!("{:?}", f);
    let ro = o.open(f.node, OpenMode::default()).unwrap();
    let a0 = o.getattr(r).unwrap();
    let w = o.open(f.node, OpenMode { write: true, ..Default::default() }).unwrap();
    assert_eq!(o.getattr(f.node).unwrap().ctime, f.attr.ctime);
    assert_eq!(o.getattr(r).unwrap().mtime, a0.mtime);
    assert_eq!(o.getattr(r).unwrap().ctime, a0.ctime);
    o.write(&w, b"HE", 0, false).unwrap();
    let mut buf = [0; 5];
    assert_eq!(o.read(&ro, &mut buf, 0).unwrap(), 5);
    assert_eq!(&buf, b"HEllo");
    assert_ne!(o.getattr(f.node).unwrap().ctime, f.attr.ctime);
    o.rename(r, b"d", r, b"x", RenameMode::Replace).unwrap();
    let x = o.lookup(r, b"x").unwrap().unwrap();
    println!("{:?}", list(&o, x.node));
    assert!(o.lookup(r, b"d").unwrap().is_none());
    let e = o.lookup(x.node, b"e").unwrap().unwrap();
    println!("{:?}", list(&o, e.node));
    let (n, h) = o
        .create(&c, e.node, b"new", 0o666, OpenMode { write: true, ..Default::default() })
        .unwrap();
    o.write(&h, b"zz", 0, false).unwrap();
    assert_eq!(n.attr.mode & 0o777, 0o644);
    o.link(f.node, e.node, b"fl").unwrap();
    assert_eq!(o.getattr(f.node).unwrap().nlink, 2);
    o.unlink(r, b"f").unwrap();
    assert_eq!(o.getattr(f.node).unwrap().nlink, 1);
    assert_eq!(o.rmdir(r, b"x"), Err(rustix::io::Errno::NOTEMPTY));
    o.rename(x.node, b"e", r, b"e2", RenameMode::Replace).unwrap();
    println!("root {:?} e2 {:?} x {:?}", list(&o, r), list(&o, e.node), list(&o, x.node));
    o.unlink(x.node, b"g").unwrap();
    o.rmdir(r, b"x").unwrap();
    o.rename(r, b"e2", r, b"l", RenameMode::Exchange).unwrap();
    println!("root {:?} l {:?}", list(&o, r), list(&o, e.node));
    drop(o);
    let o = Overlay::assemble(&op()).unwrap();
    println!("after: {:?}", list(&o, r));
    let l = o.lookup(r, b"l").unwrap().unwrap();
    println!("{:?} {:?}", list(&o, l.node), l.attr.ino == e.attr.ino);
    let fl = o.lookup(l.node, b"fl").unwrap().unwrap();
    assert_eq!(fl.attr.ino, f.attr.ino);
}
