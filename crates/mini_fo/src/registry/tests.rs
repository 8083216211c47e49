use super::*;

fn record(pid: u32, start: u64) -> Record {
    Record {
        pid,
        start,
        dev: (0, 77),
        mountpoint: "/mnt/a b\n=c\\".into(),
        base: "/b".into(),
        under: vec!["/u 1".into(), "/u2".into()],
        storage: OsString::from_vec(vec![b'/', 0xff, b'=']).into(),
        storage_id: (5, u64::MAX),
        writable: true,
        since: 1_700_000_000,
        report: Report { advice: "a = b\n".into(), ..Report::default() },
        namespace: own_namespace(),
        locked: false,
        lives: false,
    }
}

#[test]
fn a_record_comes_back() {
    let record = record(7, 8);
    assert_eq!(Record::decode(&record.encode()), Some(record));
}

#[test]
fn odd_records_are_refused() {
    for text in ["", "pid=x", "pid=0", "pid=1\ndev=1", "nonsense", "pid=1\nstorage_id=a:b"] {
        assert_eq!(Record::decode(text.as_bytes()), None, "{text:?}");
    }
    assert!(Record::decode(b"pid=3\nlater=1\n").is_some());
}

#[test]
fn the_dead_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r");
    let registry = Registry::open_at(&path).unwrap();
    let me = std::process::id();
    let live = record(me, start_of(me).unwrap());
    let dead = record(me, 1);
    std::fs::write(path.join("dead"), dead.encode()).unwrap();
    std::fs::write(path.join("other"), "hello").unwrap();
    let entered = registry.enter(&live).unwrap();
    let expected = Record { locked: true, lives: true, ..live };
    assert_eq!(registry.live().unwrap(), [expected]);
    assert!(!path.join("dead").exists() && path.join("other").exists());
    drop(entered);
    assert_eq!(registry.live().unwrap(), []);
}

#[test]
fn a_directory_of_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r");
    Registry::open_at(&path).unwrap();
    std::os::unix::fs::symlink(&path, dir.path().join("l")).unwrap();
    assert!(Registry::open_at(&dir.path().join("l")).is_err());
    fs::chmod(&path, Mode::from_raw_mode(0o722)).unwrap();
    assert!(Registry::open_at(&path).is_err());
}

#[test]
fn processes_are_told_apart() {
    assert!(start_of(std::process::id()).is_some_and(|start| start > 0));
    assert_eq!(start_of(u32::MAX), None);
}
