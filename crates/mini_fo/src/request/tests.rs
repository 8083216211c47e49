use std::ffi::OsStr;

use super::*;
use crate::options;

fn typed(list: &str) -> Typed {
    Typed {
        source: Some("none".into()),
        mountpoint: "/nowhere/m".into(),
        items: options::parse(OsStr::new(list), false).unwrap(),
        ..Typed::default()
    }
}

fn mount(list: &str) -> MountRequest {
    match typed(list).order() {
        Ok(Order::Mount(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn error(list: &str) -> String {
    typed(list).order().unwrap_err().message
}

#[test]
fn the_line_of_2005() {
    let request = mount("rw,base=/nowhere/b,sto=/nowhere/s");
    assert_eq!(request.base(), Path::new("/nowhere/b"));
    assert_eq!(request.storage, Path::new("/nowhere/s"));
    assert_eq!(request.source, "none");
    assert!(request.flags.is_empty());
    assert!(request.default_permissions && request.passthrough);
    assert_eq!(request.transport, TransportChoice::Auto);
}

#[test]
fn later_options_win() {
    let flags = mount("base=/b,sto=/s,ro,user,exec,noatime,relatime,rw,nodev,dev").flags;
    assert_eq!(flags, MountFlags::NOSUID | MountFlags::RELATIME);
    let last = mount("base=/b,sto=/s,transport=uring,transport=classic").transport;
    assert_eq!(last, TransportChoice::Classic);
    assert!(mount("user,ro,sync,base=/b,sto=/s,defaults").flags.is_empty());
}

#[test]
fn what_is_missing_is_named() {
    assert!(error("sto=/s").contains("base=DIR"));
    assert!(error("base=/b").contains("sto=DIR"));
    assert!(error("base=/b,base=/c,sto=/s").contains("'base' is given twice"));
    assert!(error("base=/b,sto=/s,allow_other,nodefault_permissions").contains("every user"));
    mount("base=/b,base=/b,sto=/s,storage=/s");
}

#[test]
fn others_are_let_in_where_the_kernel_judges_them() {
    let of = |more: &str| mount(&format!("base=/b,sto=/s{more}"));
    assert!(of("").lets_others_in(true));
    assert!(!of("").lets_others_in(false));
    assert!(of(",allow_other").lets_others_in(false));
    assert!(!of(",noallow_other").lets_others_in(true));
    assert!(!of(",nodefault_permissions").lets_others_in(true));
}

#[test]
fn the_name_of_meta() {
    assert!(!mount("base=/b,sto=/s").meta_name.is_chosen());
    assert_eq!(mount("base=/b,sto=/s,meta_name=.mini").meta_name.as_str(), ".mini");
    for bad in ["..", "a/b"] {
        assert!(error(&format!("base=/b,sto=/s,meta_name={bad}")).contains(bad));
    }
}

#[test]
fn a_remount_sets_all_flags() {
    let order = typed("rw,nosuid,relatime,user_id=0,remount,ro").order();
    let Ok(Order::Remount(request)) = order else { panic!() };
    let flags = MountFlags::NOSUID | MountFlags::RELATIME | MountFlags::RDONLY;
    assert_eq!(request.flags(), flags);
}
