//! Option lists as people and mount(8) write them.
#![forbid(unsafe_code)]

use super::*;

fn opts(list: &str) -> Vec<Opt> {
    parse(OsStr::new(list), false).unwrap().into_iter().map(|item| item.opt).collect()
}

fn values(list: &str) -> Vec<String> {
    let items = parse(OsStr::new(list), false).unwrap();
    items.into_iter().filter_map(|i| i.value?.into_string().ok()).collect()
}

fn error(list: &str) -> String {
    parse(OsStr::new(list), false).unwrap_err().to_string()
}

#[test]
fn the_line_of_2005() {
    assert_eq!(opts("base=/b,sto=/s"), [Opt::Base, Opt::Storage]);
    assert_eq!(values("rw,base=/b,sto=/s"), ["/b", "/s"]);
}

#[test]
fn what_fstab_lines_hold_is_accepted() {
    let list = "defaults,noauto,nofail,user,user=ann,_netdev,comment=my own,\
                x-systemd.requires=/sto,x-gvfs-hide,X-mount.mkdir,base=/b,sto=/s,noatime";
    let opts = opts(list);
    assert_eq!(opts.last(), Some(&Opt::Flag(Flag::NoAtime, true)));
    assert_eq!(opts.len(), 13);
}

#[test]
fn commas_in_values() {
    assert_eq!(values(r"base=/a\,b,sto=/s\\t"), ["/a,b", r"/s\t"]);
    assert_eq!(values(r#"base="/a,b",sto=/s"#), ["/a,b", "/s"]);
    assert_eq!(values(r"base=/a\b"), [r"/a\b"]);
    assert_eq!(error(r#"base="/a,b"#), r#"a double quote is not closed in 'base="/a,b'"#);
}

#[test]
fn mistakes_are_named() {
    assert_eq!(error("bse=/b"), "unknown option 'bse' (did you mean 'base'?)");
    assert_eq!(error("nosiud"), "unknown option 'nosiud' (did you mean 'nosuid'?)");
    assert_eq!(error("zzz"), "unknown option 'zzz'");
    assert_eq!(error("base"), "option 'base' needs a value: base=DIR[:DIR...]");
    assert_eq!(error("sto="), "option 'sto' needs a value: sto=DIR");
    assert_eq!(error("ro=1"), "option 'ro' takes no value");
    let told = "option 'damaged' does not know the value 'perhaps'; it is one of ro, rw";
    assert_eq!(error("damaged=perhaps"), told);
    assert!(error("uid=1000").ends_with("show every object with an owner of your choice"));
    assert!(error("lowerdir=/a").starts_with("unknown option 'lowerdir': the layers are given as"));
    assert!(parse(OsStr::new("zzz,ro"), true).unwrap().len() == 1);
    assert!(parse(OsStr::new("base,ro"), true).is_err());
}

#[test]
fn empty_items_do_no_harm() {
    assert_eq!(opts(",ro,,"), [Opt::Flag(Flag::ReadOnly, true)]);
    assert_eq!(opts(""), []);
}
