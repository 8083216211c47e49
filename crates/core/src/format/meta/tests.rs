//! META: lines, and the index.

mod damage;
mod index;
mod record;

use proptest::prelude::*;

use super::{Loss, RealmRecord, Record, SharedRecord};
use crate::format::identity::{BaseId, Realm};
use crate::format::print::{Hash, Print};
use crate::format::time::Timestamp;

pub(crate) fn hide(name: &[u8]) -> Record {
    Record::Hide { name: name.into() }
}

pub(crate) fn redirect(path: &[u8], name: &[u8]) -> Record {
    Record::Redirect { path: path.into(), name: name.into() }
}

pub(crate) fn identity(ino: u64, storage_ino: u64, name: &[u8]) -> Record {
    Record::Identity { ino, storage_ino, name: name.into() }
}

pub(crate) fn lines(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::new();
    records.iter().for_each(|record| record.encode(&mut out));
    out
}

/// Any bytes that can name an entry, the awkward ones often.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => prop::sample::select(&b" \n\\\x7f\t\r.DRdrx\xff\xc3"[..]),
        2 => 1_u8..=255,
    ];
    let length = prop_oneof![8 => 1..=8_usize, 1 => 1..=255_usize, 1 => Just(255)];
    length
        .prop_flat_map(move |length| prop::collection::vec(byte.clone(), length))
        .prop_map(|name| name.into_iter().map(|b| if b == b'/' { b'_' } else { b }).collect())
        .prop_filter("no entry", |name: &Vec<u8>| name != b"." && name != b"..")
}

fn name_or_self() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => any_name(), 1 => Just(b".".to_vec())]
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(sec, nsec)| Timestamp { sec, nsec })
}

fn any_id() -> impl Strategy<Value = BaseId> {
    let realm = prop_oneof![Just(0), 1..5_u32, any::<u32>()];
    (realm, any::<u64>()).prop_map(|(realm, ino)| BaseId { realm: Realm(realm), ino })
}

fn any_print() -> impl Strategy<Value = Print> {
    const KINDS: [u32; 5] =
        [libc::S_IFREG, libc::S_IFDIR, libc::S_IFLNK, libc::S_IFCHR, libc::S_IFSOCK];
    let mode = (prop::sample::select(&KINDS[..]), 0..=0o7777_u32);
    let hash = (prop::option::of(any::<u128>()), prop::option::of(any_time()));
    (mode, any::<u32>(), any::<u32>(), any::<u64>(), any_time(), hash).prop_map(
        |((kind, bits), uid, gid, size, mtime, (hash, since))| {
            let hash = hash.map(|hash| Hash(hash.to_be_bytes()));
            let since = since.filter(|_| hash.is_none());
            Print { mode: kind | bits, uid, gid, size, mtime, hash, since }
        },
    )
}

pub(crate) fn any_record() -> impl Strategy<Value = Record> {
    let path = || prop::collection::vec(any_name(), 1..6).prop_map(|names| names.join(&b'/'));
    prop_oneof![
        any_name().prop_map(|name| hide(&name)),
        name_or_self().prop_map(|name| Record::Restored { name: name.into() }),
        (any_print(), name_or_self())
            .prop_map(|(print, name)| Record::Print { print, name: name.into() }),
        prop::option::of(path()).prop_map(|path| Record::Discard { path: path.map(Into::into) }),
        (path(), any_name()).prop_map(|(path, name)| redirect(&path, &name)),
        (any_time(), path(), any_name()).prop_map(|(at, path, name)| Record::HideFar {
            at,
            path: path.into(),
            name: name.into()
        }),
        (any::<u64>(), any::<u64>(), any_name())
            .prop_map(|(ino, own, name)| identity(ino, own, &name)),
        (name_or_self(), any_time(), any_time()).prop_map(|(name, shown, real)| Record::Ctime {
            name: name.into(),
            shown,
            real
        }),
        (0..=0o7777_u32, any::<u32>(), any::<u32>(), name_or_self())
            .prop_map(|(mode, uid, gid, name)| Record::Owner { mode, uid, gid, name: name.into() }),
        (0..5_usize, 0..4096_u32, any::<u8>(), any_name()).prop_map(
            |(kind, major, minor, name)| Record::Device {
                kind: [libc::S_IFBLK, libc::S_IFCHR, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFLNK]
                    [kind],
                device: rustix::fs::makedev(major, minor.into()),
                name: name.into(),
            }
        ),
        (any_name(), any_name(), prop::option::of(prop::collection::vec(any::<u8>(), 0..40)))
            .prop_map(|(name, attribute, value)| Record::Xattr {
                attribute: attribute.into(),
                value: value.map(Into::into),
                name: name.into(),
            }),
        any_name().prop_map(|name| Record::Unkept { name: name.into() }),
        any_name().prop_map(|name| Record::Unredirect { name: name.into() }),
        any_name().prop_map(|name| Record::Settled { name: name.into() }),
        (any::<bool>(), any::<u64>(), any_name(), path()).prop_map(|(arrived, ino, name, path)| {
            let record = if ino % 2 == 0 { hide(&name) } else { redirect(&path, &name) };
            Record::When { arrived, storage_ino: ino, record: Box::new(record) }
        }),
        (any_id(), any::<u64>(), any_name(), any::<bool>()).prop_map(|(id, dir, name, decided)| {
            Record::Loss(Loss { id, dir, name: name.into(), decided })
        }),
        (any::<u64>(), any_time()).prop_map(|(number, at)| Record::Access { number, at }),
        (any_id(), any::<u32>(), any::<u32>(), any::<u64>(), any_time(), any_time()).prop_map(
            |(id, left, nlink, size, mtime, ctime)| Record::Shared {
                id,
                record: SharedRecord { left, nlink, size, mtime, ctime }
            }
        ),
        (any_id(), any::<u64>(), prop::option::of(path())).prop_map(|(id, fsid, path)| {
            let (realm, ino, path) =
                (Realm(id.realm.0.max(1)), id.ino, path.unwrap_or_default().into());
            Record::Realm(RealmRecord { realm, fsid, ino, path })
        }),
        (any::<u64>(), any::<u64>(), path()).prop_map(|(fsid, ino, path)| Record::Origin {
            fsid,
            ino,
            path: [b"/", &*path].concat().into()
        }),
        prop::collection::vec((any::<u64>(), any::<u64>(), path()), 0..3).prop_map(|layers| {
            let full = |(fsid, ino, path): (u64, u64, Vec<u8>)| {
                (fsid, ino, [b"/", &*path].concat().into())
            };
            Record::Under { layers: layers.into_iter().map(full).collect() }
        }),
        (any::<u64>(), any_time()).prop_map(|(ino, born)| Record::Storage { ino, born }),
        prop::collection::vec(any_name(), 1..4).prop_map(|words| Record::Features {
            words: words.into_iter().map(Into::into).collect()
        }),
    ]
}
