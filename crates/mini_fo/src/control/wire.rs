//! What goes through the channel.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::usage::Wanted;

/// Bytes that one ioctl carries: with 13 bits for the size, as some architectures have, less
/// than 8,192.
pub const FRAME: usize = 8176;

/// Bytes of a frame before its data: a flag and a length, native `u32` each.
pub const HEADER: usize = 8;

/// The longest request: more than a command line has room for (2 MiB), bytes that are no UTF-8
/// counted twice.
pub const LONGEST: usize = 8 << 20;

/// `_IOW('m', 0x68, FRAME)`: a piece of a request. The flag tells that more comes.
pub const SEND: u32 = ioc(WRITES, 0x68);

/// `_IOR('m', 0x69, FRAME)`: the next piece of the answer. The flag tells that there is more.
pub const FETCH: u32 = ioc(READS, 0x69);

const OTHER_ENCODING: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc64"
));

/// The caller writes, or reads (asm-generic/ioctl.h, and those of the others).
const WRITES: u32 = if OTHER_ENCODING { 4 << 29 } else { 1 << 30 };
const READS: u32 = if OTHER_ENCODING { 2 << 29 } else { 2 << 30 };

const fn ioc(direction: u32, number: u32) -> u32 {
    direction | (FRAME as u32) << 16 | (b'm' as u32) << 8 | number
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Which mount it is, and where in it the directory lies: one [`Info`].
    Info,
    /// What the storage holds: one [`Usage`](crate::usage::Usage).
    Usage(Wanted),
    /// What has changed, as `mini_fo status` shows it: text in parts ([`COMPLAINT`]), and a
    /// [`Seen`] or [`Trouble`].
    Status(StatusForm),
    /// The same as `mini_fo diff` shows it.
    Diff(DiffForm),
    /// Changes go: text in parts as with [`Request::Status`], and a [`Gone`] or [`Trouble`].
    Discard(DiscardForm),
    /// Changes go into the base, as `mini_fo commit` shows it: text in parts, and a
    /// [`CommitSeen`] or [`Trouble`].
    Commit(CommitForm),
    /// What one side of a change holds: bytes in parts, and a [`Sent`] or [`Trouble`].
    Content(ContentForm),
}

impl Request {
    /// It changes something.
    pub fn changes(&self) -> bool {
        matches!(self, Request::Discard(form) if !form.dry_run)
    }
}

/// What `mini_fo status` is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusForm {
    /// Only what is at these paths or below them, without a leading slash; none: all.
    pub within: Vec<PathBytes>,
    /// What is in deleted and renamed directories, too.
    pub all: bool,
    /// All names of changed hard links.
    pub links: bool,
    /// JSON.
    pub json: bool,
    /// Records that end with NUL.
    pub z: bool,
    /// For a terminal.
    pub colored: bool,
}

/// What `mini_fo diff` is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffForm {
    /// Only what is at these paths or below them, without a leading slash; none: all.
    pub within: Vec<PathBytes>,
    /// Binary files so that they can be applied.
    pub binary: bool,
    /// Lines that were added and deleted.
    pub stat: bool,
    /// Paths only.
    pub name_only: bool,
    /// Letters and paths.
    pub name_status: bool,
    /// They end with NUL.
    pub z: bool,
    /// For a terminal.
    pub colored: bool,
}

/// What `mini_fo discard` is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardForm {
    /// Paths of the tree, without a leading slash; the empty one is everything.
    pub paths: Vec<PathBytes>,
    /// Globs of what stays.
    pub keep: Vec<String>,
    /// Paths on which something is mounted, as who asks sees it: they are not taken away.
    #[serde(default)]
    pub mounted: Vec<PathBytes>,
    /// Only tell what would go.
    pub dry_run: bool,
    /// Tell nothing but trouble.
    pub quiet: bool,
    /// JSON.
    pub json: bool,
    /// For a terminal.
    pub colored: bool,
}

/// What `mini_fo commit` is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitForm {
    /// Paths of the tree, without a leading slash; none: everything.
    pub paths: Vec<PathBytes>,
    /// Globs of what goes; none: everything.
    pub only: Vec<String>,
    /// Globs of what stays.
    pub except: Vec<String>,
    /// The paths are those of single changes, without what is below them; others go along
    /// where they must, but for those that stay.
    #[serde(default)]
    pub single: bool,
    /// Single changes that stay.
    #[serde(default)]
    pub stays: Vec<PathBytes>,
    /// These changes in place of all others: what is not among them stays, but for directories
    /// that were added on the way to them.
    #[serde(default)]
    pub picked: Option<Vec<Picked>>,
    /// Tell of each change that is asked for whether a part of it can go.
    #[serde(default)]
    pub offers: bool,
    /// Conflicts are decided for the storage.
    pub ours: bool,
    /// Only tell what would go.
    pub dry_run: bool,
    /// Tell it without the last line, which is for who is not asked a question.
    pub asks: bool,
    /// By what a run knows who asks from outside of it.
    #[serde(default)]
    pub key: Option<String>,
    /// What was shown before a question, by [`CommitSeen::mark`].
    pub shown: Option<u64>,
    /// Other mounts of the base, or of what is in it.
    pub others: Vec<OtherMount>,
    /// Tell nothing but trouble.
    pub quiet: bool,
    /// JSON.
    pub json: bool,
    /// For a terminal.
    pub colored: bool,
    /// Tell how far it is ([`PROGRESS`]).
    #[serde(default)]
    pub progress: bool,
}

/// A change that somebody has looked at, and wants to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picked {
    /// Where it is.
    pub path: PathBytes,
    /// It is a deletion.
    pub deleted: bool,
    /// As it was told: a hash of its object.
    pub seen: HashBytes,
    /// Only this of it.
    pub part: Option<PickedPart>,
}

/// A part of a change in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PickedPart {
    /// Where a stretch begins and ends in what the base has, and where in what the tree shows.
    pub pieces: Vec<[u64; 4]>,
    /// Hash of what the base has.
    pub before: HashBytes,
    /// Hash of what the tree shows.
    pub after: HashBytes,
    /// Attributes, too.
    pub attributes: bool,
}

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashBytes(pub [u8; 16]);

/// A mount that shows something of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherMount {
    /// Where.
    pub point: PathBytes,
    /// Which directory of the base; `None`: all of it.
    pub shows: Option<PathBytes>,
}

/// What a commit comes to, or has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitSeen {
    /// Changes that go.
    pub goes: u64,
    /// Bytes of content of these.
    pub bytes: u64,
    /// Changes of which the base has something else.
    pub conflicts: u64,
    /// Changes that were asked for, and stay because they are in use.
    pub in_use: u64,
    /// Which plan it is.
    pub mark: u64,
    /// Nothing was done, for it is not what was shown.
    pub is_another: bool,
    /// What is to be told at the end: all is done, but.
    pub but: Option<String>,
}

/// What has come of it, in entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Changes that are gone, or would be.
    pub changes: u64,
    /// Of these, so many with content that is lost.
    pub content: u64,
    /// Changes that were to be kept, or hang together with such.
    pub kept: u64,
    /// What could not go, or not be looked at.
    pub failed: u64,
}

/// Which content is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentForm {
    /// The path of the change, as it was told.
    pub path: PathBytes,
    /// The change is a deletion.
    pub deleted: bool,
    /// What was there, or what is there.
    pub side: Side,
    /// The content of a file that is larger is not sent,
    pub most: u64,
    /// but so many bytes of its beginning.
    pub beginning: u64,
}

/// One of the two trees that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What is below.
    Before,
    /// What shows.
    After,
}

/// What was sent of a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// There is something of a type that has content: a file, or a symbolic link with its
    /// target.
    pub there: bool,
    /// Its size in bytes.
    pub size: u64,
}

/// What there was to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Something has changed.
    pub changes: bool,
    /// So many entries could not be read.
    pub unread: u64,
}

/// Set in the length of a part (`u32`, as the machine has it) that goes to standard error.
/// A part of no length is the last one; one line of JSON follows it.
pub const COMPLAINT: u32 = 1 << 31;

/// Set in the length of a part that is a [`Progress`], as JSON.
pub const PROGRESS: u32 = 1 << 30;

/// How far it is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So many are copied.
    pub done: u64,
    /// Of so many.
    pub all: u64,
}

/// The answer to [`Request::Info`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Version of the program that serves the mount.
    pub version: String,
    /// Its process, as it counts.
    pub pid: u32,
    /// Path of the directory in the mount, without a leading slash.
    pub path: PathBytes,
    /// Where it was mounted, as the daemon sees it.
    pub mountpoint: PathBytes,
    /// What is below, from the top down.
    pub base: Vec<PathBytes>,
    /// What receives the changes; none of a mount without a storage.
    pub storage: Option<PathBytes>,
    /// What META is called there.
    pub meta_name: String,
    /// Nothing can be changed.
    pub read_only: bool,
}

/// The end of an answer that could not be given, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A sentence.
    pub trouble: String,
    /// What the system said, if that is why.
    pub errno: Option<i32>,
}

/// A path; bytes that are no UTF-8 go through JSON as the two digits of each byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Spelled", into = "Spelled")]
pub struct PathBytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled {
    Text(String),
    Bytes { hex: String },
}

impl From<Spelled> for PathBytes {
    fn from(spelled: Spelled) -> PathBytes {
        PathBytes(match spelled {
            Spelled::Text(text) => text.into_bytes(),
            Spelled::Bytes { hex } => {
                let digit = |c: u8| char::from(c).to_digit(16).unwrap_or(0) as u8;
                hex.as_bytes()
                    .chunks(2)
                    .map(|pair| pair.iter().fold(0, |byte, c| byte << 4 | digit(*c)))
                    .collect()
            }
        })
    }
}

impl From<PathBytes> for Spelled {
    fn from(path: PathBytes) -> Spelled {
        match String::from_utf8(path.0) {
            Ok(text) => Spelled::Text(text),
            Err(error) => {
                let hex = error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                Spelled::Bytes { hex }
            }
        }
    }
}

/// Puts a piece into a frame, as far as it has room: how much that was. `more`: there will
/// be another one.
pub fn pack(frame: &mut [u8], data: &[u8], more: bool) -> Option<()> {
    let (flag, rest) = frame.split_first_chunk_mut()?;
    let (len, room) = rest.split_first_chunk_mut()?;
    *flag = u32::from(more).to_ne_bytes();
    *len = u32::try_from(data.len()).ok()?.to_ne_bytes();
    room.get_mut(..data.len())?.copy_from_slice(data);
    Some(())
}

/// What a frame holds, and whether there will be more. `None`: it is none.
pub fn unpack(frame: &[u8]) -> Option<(&[u8], bool)> {
    let (flag, rest) = frame.split_first_chunk()?;
    let (len, data) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_ne_bytes(*len)).ok()?;
    Some((data.get(..len)?, u32::from_ne_bytes(*flag) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut frame = vec![0; FRAME];
        for (data, more) in [(&b""[..], false), (b"x", true), (&[7; FRAME - HEADER], true)] {
            pack(&mut frame, data, more).unwrap();
            assert_eq!(unpack(&frame), Some((data, more)));
        }
        assert_eq!(pack(&mut frame, &[7; FRAME - HEADER + 1], true), None);
        frame[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(unpack(&frame), None);
        assert_eq!(unpack(&frame[..7]), None);
    }

    #[test]
    fn any_path_goes_through() {
        for path in [&b""[..], b"a/\xc3\xa4", b"a\xff\x00\n\"", b"{\"hex\":\"00\"}"] {
            let path = PathBytes(path.to_vec());
            let text = serde_json::to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<PathBytes>(&text).unwrap(), path);
        }
    }
}
