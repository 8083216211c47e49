//! Without io_uring everything works as before, and a session says why.

mod common;

use std::fs;
use std::sync::Arc;

use common::{MemFs, Mounted};
use fuse_server::{
    Config, ENABLE_URING, Mount, MountOptions, NoRing, Session, SessionError, Transport,
    TransportChoice,
};

/// Rings are forbidden while this lives.
struct Forbidden(Option<String>);

impl Forbidden {
    fn new() -> Option<Forbidden> {
        match fs::read_to_string(ENABLE_URING) {
            Ok(before) if before.trim() == "N" => Some(Forbidden(None)),
            Ok(before) if fs::write(ENABLE_URING, "N").is_ok() => Some(Forbidden(Some(before))),
            Ok(_) => {
                println!("skipped: {ENABLE_URING} is Y and cannot be changed");
                None
            }
            // A kernel that never heard of rings is as good.
            Err(_) => Some(Forbidden(None)),
        }
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = fs::write(ENABLE_URING, before.trim());
        }
    }
}

fn with(transport: TransportChoice) -> Config {
    Config { transport, ..Config::default() }
}

#[test]
fn without_rings() {
    let Some(_forbidden) = Forbidden::new() else { return };
    for choice in [TransportChoice::Auto, TransportChoice::Classic] {
        let mounted = Mounted::new(&with(choice), &MountOptions::default());
        let Some(mounted) = mounted else { return };
        match mounted.transport {
            Transport::Classic(NoRing::NotWanted) => assert_eq!(choice, TransportChoice::Classic),
            Transport::Classic(NoRing::Disabled | NoRing::Unknown) => {
                assert_eq!(choice, TransportChoice::Auto);
            }
            other => panic!("{other:?}"),
        }
        fs::write(mounted.path("f"), b"x").unwrap();
        assert_eq!(fs::read(mounted.path("f")).unwrap(), b"x");
        mounted.end();
    }

    let dir = tempfile::tempdir().unwrap();
    let Ok(mount) = Mount::new(dir.path(), &MountOptions::default()) else { return };
    let config = with(TransportChoice::Uring);
    let error = Session::new(mount, Arc::new(MemFs::new()), &config).unwrap_err();
    assert!(matches!(error, SessionError::NoRing(_)), "{error}");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(dir.path().to_str().unwrap()));
}
