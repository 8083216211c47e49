//! The operations that are counted.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How often each operation is done.
pub const TIMES: u32 = 20;

/// Entries of a directory that is listed.
const ENTRIES: u32 = 100;

/// Layers and mount point.
pub struct Scene {
    pub base: PathBuf,
    pub storage: PathBuf,
    pub point: PathBuf,
}

impl Scene {
    pub fn make(dir: &Path) -> io::Result<Scene> {
        let [base, storage, point] = ["base", "storage", "mnt"].map(|name| dir.join(name));
        for dir in [&base, &storage, &point] {
            fs::create_dir(dir)?;
        }
        Ok(Scene { base, storage, point })
    }

    /// The directory of a row in the mounted tree.
    pub fn mounted(&self, row: &Row) -> PathBuf {
        self.point.join(row.name)
    }
}

/// An operation, in a directory of its own.
pub struct Row {
    pub name: &'static str,
    /// What the base has.
    base: Base,
    /// Brings the tree, the daemon and the kernel into the state wanted.
    pub prepare: fn(&Path) -> io::Result<()>,
    /// The operation, for the nth time.
    pub run: fn(&Path, u32) -> io::Result<()>,
    /// Lets go of what `prepare` took.
    pub finish: fn(),
}

enum Base {
    Nothing,
    Files,
    Dirs,
}

impl Row {
    /// Makes the directory of the row in the base.
    pub fn make_base(&self, scene: &Scene) -> io::Result<()> {
        let dir = scene.base.join(self.name);
        fs::create_dir(&dir)?;
        for nth in 0..TIMES {
            match self.base {
                Base::Nothing => {}
                Base::Files => fs::write(file(&dir, nth), [b'b'; 4096])?,
                Base::Dirs => {
                    fs::create_dir(file(&dir, nth))?;
                    for entry in 0..ENTRIES {
                        fs::write(file(&dir, nth).join(entry.to_string()), b"")?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn file(dir: &Path, nth: u32) -> PathBuf {
    dir.join(format!("f{nth}"))
}

/// The directory is known, and its descriptors are in the daemon's cache.
fn known(dir: &Path) -> io::Result<()> {
    fs::metadata(dir)?;
    let _ = fs::metadata(dir.join("absent"));
    Ok(())
}

/// Besides, it lies in the storage.
fn stored(dir: &Path) -> io::Result<()> {
    File::create(dir.join("first"))?;
    known(dir)
}

fn stored_files(dir: &Path) -> io::Result<()> {
    stored(dir)?;
    (0..TIMES).try_for_each(|nth| fs::write(file(dir, nth), [b's'; 4096]))
}

fn stored_dirs(dir: &Path) -> io::Result<()> {
    stored(dir)?;
    (0..TIMES).try_for_each(|nth| fs::create_dir(file(dir, nth)))
}

fn stat_all(dir: &Path) -> io::Result<()> {
    known(dir)?;
    (0..TIMES).try_for_each(|nth| fs::symlink_metadata(file(dir, nth)).map(drop))
}

/// Known names in a directory that lies in the storage.
fn stored_known(dir: &Path) -> io::Result<()> {
    stored(dir)?;
    stat_all(dir)
}

fn read(dir: &Path, nth: u32) -> io::Result<()> {
    File::open(file(dir, nth))?.read_exact(&mut [0; 4096])
}

fn read_all(dir: &Path) -> io::Result<()> {
    known(dir)?;
    (0..TIMES).try_for_each(|nth| read(dir, nth))
}

fn list(dir: &Path, nth: u32) -> io::Result<()> {
    fs::read_dir(file(dir, nth))?.try_for_each(|entry| entry.map(drop))
}

fn list_lstat(dir: &Path, nth: u32) -> io::Result<()> {
    fs::read_dir(file(dir, nth))?.try_for_each(|entry| entry?.metadata().map(drop))
}

fn list_all(dir: &Path) -> io::Result<()> {
    known(dir)?;
    (0..TIMES).try_for_each(|nth| list_lstat(dir, nth))?;
    (0..TIMES).try_for_each(|nth| list(dir, nth))
}

fn absent(dir: &Path, nth: u32) -> io::Result<()> {
    match fs::symlink_metadata(dir.join(format!("no{nth}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}

fn write_with(dir: &Path, nth: u32, options: &OpenOptions) -> io::Result<()> {
    options.open(file(dir, nth))?.write_all(&[b'w'; 4096])
}

fn chmod(dir: &Path, nth: u32) -> io::Result<()> {
    fs::set_permissions(file(dir, nth), fs::Permissions::from_mode(0o640))
}

fn utimes(dir: &Path, nth: u32) -> io::Result<()> {
    let path = CString::new(file(dir, nth).as_os_str().as_bytes())?;
    // Now, both.
    // SAFETY: the path is a C string that outlives the call.
    let done = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), std::ptr::null(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn getxattr(dir: &Path, nth: u32) -> io::Result<()> {
    let path = CString::new(file(dir, nth).as_os_str().as_bytes())?;
    let name = c"user.absent";
    // SAFETY: two C strings that outlive the call, and no buffer.
    let len = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) };
    if len < 0 { Ok(()) } else { Err(io::Error::other("an attribute that nobody made")) }
}

fn rename(dir: &Path, nth: u32) -> io::Result<()> {
    fs::rename(file(dir, nth), dir.join(format!("to{nth}")))
}

fn create(dir: &Path, nth: u32) -> io::Result<()> {
    write_with(dir, nth, OpenOptions::new().write(true).create(true).truncate(true))
}

fn overwrite(dir: &Path, nth: u32) -> io::Result<()> {
    write_with(dir, nth, OpenOptions::new().write(true))
}

fn append(dir: &Path, nth: u32) -> io::Result<()> {
    write_with(dir, nth, OpenOptions::new().append(true))
}

fn symlink(dir: &Path, nth: u32) -> io::Result<()> {
    std::os::unix::fs::symlink("target", file(dir, nth))
}

fn symlink_and_readlink(dir: &Path, nth: u32) -> io::Result<()> {
    symlink(dir, nth)?;
    fs::read_link(file(dir, nth)).map(drop)
}

/// A file that rows hold open.
static OPEN: Mutex<Option<File>> = Mutex::new(None);

fn hold(dir: &Path) -> io::Result<()> {
    stored_files(dir)?;
    let file = OpenOptions::new().read(true).write(true).open(file(dir, 0))?;
    file.write_at(&[0; 4096], 0)?;
    *OPEN.lock().unwrap_or_else(|e| e.into_inner()) = Some(file);
    Ok(())
}

fn held<T>(f: impl FnOnce(&File) -> io::Result<T>) -> io::Result<()> {
    let open = OPEN.lock().unwrap_or_else(|e| e.into_inner());
    open.as_ref().map_or(Ok(()), |file| f(file).map(drop))
}

fn let_go() {
    *OPEN.lock().unwrap_or_else(|e| e.into_inner()) = None;
}

type Prepare = fn(&Path) -> io::Result<()>;
type Run = fn(&Path, u32) -> io::Result<()>;

fn row(name: &'static str, base: Base, prepare: Prepare, run: Run) -> Row {
    Row { name, base, prepare, run, finish: let_go }
}

/// All rows.
pub fn all() -> Vec<Row> {
    let (none, files, dirs) = (|| Base::Nothing, || Base::Files, || Base::Dirs);
    let stat: Run = |dir, nth| fs::symlink_metadata(file(dir, nth)).map(drop);
    let unlink: Run = |dir, nth| fs::remove_file(file(dir, nth));
    let mkdir: Run = |dir, nth| fs::create_dir(file(dir, nth));
    let rmdir: Run = |dir, nth| fs::remove_dir(file(dir, nth));
    vec![
        row("stat cold", files(), known, stat),
        row("stat warm", files(), stat_all, stat),
        row("absent name, first", files(), known, absent),
        row("absent name, again", files(), |d| (0..TIMES).try_for_each(|n| absent(d, n)), absent),
        row("open-read-close base, cold", files(), known, read),
        row("open-read-close base, warm", files(), read_all, read),
        row(
            "open-read-close storage",
            none(),
            |d| stored_files(d).and_then(|()| read_all(d)),
            read,
        ),
        row("readdir cold", dirs(), known, list),
        row("readdir warm", dirs(), list_all, list),
        row("readdir + lstat cold", dirs(), known, list_lstat),
        row("readdir + lstat warm", dirs(), list_all, list_lstat),
        row("create-write-close", none(), stored, create),
        row("rewrite, truncating", none(), stored_files, create),
        row("overwrite", none(), stored_files, overwrite),
        row("append", none(), stored_files, append),
        row("rename", none(), stored_files, rename),
        row("unlink", none(), stored_files, unlink),
        row("mkdir", none(), stored, mkdir),
        row("rmdir", none(), stored_dirs, rmdir),
        row("symlink + readlink", none(), stored, symlink_and_readlink),
        row("chmod", none(), stored_files, chmod),
        row("utimes", none(), stored_files, utimes),
        row("getxattr, none there", none(), stored_files, getxattr),
        row("getxattr base, none there", files(), stat_all, getxattr),
        row("write 4 KiB, open", none(), hold, |_, _| held(|f| f.write_at(&[0; 4096], 0))),
        row("read 4 KiB, open", none(), hold, |_, _| held(|f| f.read_at(&mut [0; 4096], 0))),
        row("chmod base file", files(), stored_known, chmod),
        row("append to base file", files(), stored_known, append),
        row("unlink base file", files(), stored_known, unlink),
        row("rename base file", files(), stored_known, rename),
    ]
}
