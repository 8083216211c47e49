//! Where the changes of a run are kept: a directory with a note of what the run is and,
//! beside it, the storage. It has room for more, such as layers below that.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::note::{self, NOTE, Note, STORAGE};
use super::plan::Plan;
use super::remove;
use crate::control::wire::PathBytes;
use crate::exit::{Failure, code};
use crate::registry;
use crate::secret::secret;
use mini_fo_core::MetaName;

/// How deep runs may lie in runs. The kernel allows 32 user namespaces in each other.
const LEVELS: u32 = 40;

/// The directory of a run, held: nobody else runs anything there.
pub struct Place {
    /// Its full path.
    pub dir: PathBuf,
    /// What it is called, if it lies where runs do.
    pub name: Option<String>,
    /// It goes at its end if nothing has changed.
    pub temporary: bool,
    /// What META of its storage is called; empty: as usual.
    pub meta_name: String,
    /// By this its daemon knows who asks from outside.
    pub key: String,
    /// The note, open and locked. Whoever has a copy of the descriptor holds the place.
    pub lock: File,
}

impl Place {
    /// A new one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn temporary(plan: &Plan) -> Result<Place, Failure> {
        let runs = runs()?;
        let key = secret()?;
        let make = || -> io::Result<Place> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs)?;
            for number in 1_u32.. {
                let name = format!("run-{number}");
                let dir = runs.join(&name);
                match fs::DirBuilder::new().mode(0o700).create(&dir) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                    Ok(()) => {
                        // Who lists runs may have taken it away already, for it was empty.
                        let Some(lock) = begin(&dir)? else { continue };
                        note::write_key(&dir, &key)?;
                        let meta_name = meta_name(&dir.join(STORAGE))?;
                        let name = Some(name);
                        return Ok(Place {
                            dir,
                            name,
                            temporary: true,
                            meta_name,
                            key: key.clone(),
                            lock,
                        });
                    }
                }
            }
            Err(io::ErrorKind::StorageFull.into())
        };
        let place = make().map_err(|error| {
            let way = "name a directory with --storage, or keep changes in memory with --tmpfs";
            Failure::new(code::RUN, format!("{}: {error}; {way}", runs.display()))
        })?;
        place.write(plan, None)?;
        Ok(place)
    }

    /// The one of a name.
    ///
    /// # Errors
    /// As [`Place::at`]; it is no name.
    pub fn of(name: &Path, plan: &Plan) -> Result<Option<Place>, Failure> {
        let text = name.to_string_lossy();
        if !is_name(name) || text.starts_with(['.', '-']) {
            let text = format!("--name {text}: a name has no slash, and no dot or hyphen at first");
            return Err(Failure::new(code::RUN, text));
        }
        let runs = runs()?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs);
        made.map_err(|error| Failure::new(code::RUN, format!("{}: {error}", runs.display())))?;
        let place = Place::at(&runs.join(name), plan)?;
        Ok(place.map(|place| Place { name: Some(text.into_owned()), ..place }))
    }

    /// The one in a directory that the user has named. `None`: a command is running there.
    ///
    /// # Errors
    /// It cannot be made, or is something else.
    pub fn at(dir: &Path, plan: &Plan) -> Result<Option<Place>, Failure> {
        let failed = |error: io::Error| {
            Failure::new(code::RUN, format!("storage {}: {error}", dir.display()))
        };
        let (full, lock) = loop {
            create(dir).map_err(failed)?;
            // It may have been taken away since.
            let full = match dir.canonicalize() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                full => full.map_err(failed)?,
            };
            if !is_one_or_empty(&full).map_err(failed)? {
                let why = "it is not empty, and nothing of 'mini_fo run': name a new directory";
                let text = format!("storage {}: {why}", dir.display());
                return Err(Failure::new(code::RUN, text));
            }
            match begin(&full).map_err(failed)? {
                Some(lock) => break (full, lock),
                None if note::is_in_use(&full) => return Ok(None),
                None => {}
            }
        };
        let meta_name = match note::read(&full) {
            Some((note, storage)) => {
                let goes_on = fs::read_dir(storage).is_ok_and(|mut all| all.next().is_some());
                if goes_on && plan.for_users && note.as_root != plan.as_root.is_some() {
                    return Err(other_users(dir, note.as_root));
                }
                note.meta_name
            }
            None => meta_name(&full.join(STORAGE)).map_err(failed)?,
        };
        let key = secret()?;
        note::write_key(&full, &key).map_err(failed)?;
        let place = Place { dir: full, name: None, temporary: false, meta_name, key, lock };
        place.write(plan, None)?;
        Ok(Some(place))
    }

    /// The one of a run that others are in.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn joined(dir: &Path, name: Option<&Path>) -> io::Result<Place> {
        let dir = dir.canonicalize()?;
        let lock = File::open(dir.join(NOTE))?;
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let Note { meta_name, .. } = note::of(&dir).unwrap_or_default();
        let key = note::key_of(&dir);
        Ok(Place { dir, name, temporary: false, meta_name, key, lock })
    }

    /// What receives the changes.
    pub fn storage(&self) -> PathBuf {
        self.dir.join(STORAGE)
    }

    /// Nothing was ever changed: what begins to write writes there.
    pub fn is_unused(&self) -> bool {
        fs::read_dir(self.storage()).is_ok_and(|mut entries| entries.next().is_none())
    }

    /// What the user calls it.
    pub fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.dir.display().to_string(),
        }
    }

    /// Writes down what is run. `member`: the number of its mount namespace, and of a process
    /// there, if they are known.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, plan: &Plan, member: Option<(u64, i32)>) -> Result<(), Failure> {
        let (namespace, process) = member.unwrap_or_default();
        let bytes = |text: &std::ffi::OsStr| PathBytes(text.as_bytes().to_vec());
        let note = Note {
            base: bytes(plan.base.as_os_str()),
            one_owner: plan.is_of_one_owner(),
            as_root: plan.as_root.is_some(),
            temporary: self.temporary,
            meta_name: self.meta_name.clone(),
            since: registry::now(),
            namespace,
            process,
            command: plan.command.iter().map(|word| bytes(word)).collect(),
            going: false,
        };
        note.write(&self.lock).map_err(|error| {
            Failure::new(code::RUN, format!("{}: {error}", self.dir.join(NOTE).display()))
        })
    }

    /// Takes all of it away.
    ///
    /// # Errors
    /// Something of it stays.
    pub fn remove(&self) -> Result<(), Failure> {
        remove::run(&self.dir, &self.lock).map_err(|error| {
            Failure::new(code::RUN, format!("{}: cannot be removed: {error}", self.dir.display()))
        })
    }
}

/// Owners are kept in one way or the other.
fn other_users(dir: &Path, as_root: bool) -> Failure {
    let (begun, way) = match as_root {
        true => ("with", "add it"),
        false => ("without", "leave it out"),
    };
    let text = format!("storage {}: it was begun {begun} --as-root: {way}", dir.display());
    Failure::new(code::RUN, text)
}

fn create(dir: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// It is the directory of a run, or can become that.
fn is_one_or_empty(dir: &Path) -> io::Result<bool> {
    let is_empty = || match fs::read_dir(dir) {
        // It is made again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        entries => entries.map(|mut entries| entries.next().is_none()),
    };
    // Looked at twice: whoever begins or ends at the same time may have written the note, or
    // removed it, between the two.
    Ok(is_empty()? || dir.join(NOTE).exists() || is_empty()?)
}

/// Takes the lock, and makes what is missing in a directory. `None`: somebody has it, or
/// takes it away.
fn begin(dir: &Path) -> io::Result<Option<File>> {
    let lock = match note::lock(dir, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    let Some(lock) = lock else { return Ok(None) };
    if note::of(dir).is_some_and(|note| note.going) {
        remove::content(dir)?;
    }
    create(&dir.join(STORAGE))?;
    Ok(Some(lock))
}

/// What META can be called in a storage. In a run it lies in a mount of ours, where the name
/// that is META's there cannot be used.
fn meta_name(storage: &Path) -> io::Result<String> {
    let usable = |name: &str| -> io::Result<bool> {
        let path = storage.join(format!("{name}_tried"));
        match File::create_new(&path) {
            Ok(_) => fs::remove_file(path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error),
        }
    };
    if usable(&String::from_utf8_lossy(MetaName::default().as_bytes()))? {
        return Ok(String::new());
    }
    for level in 1..LEVELS {
        let name = format!("META_of_run_{level}_");
        if usable(&name)? {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::PermissionDenied.into())
}

/// Where runs are kept that have no place of their own.
///
/// # Errors
/// The environment does not tell.
pub fn runs() -> Result<PathBuf, Failure> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            let text = "neither XDG_DATA_HOME nor HOME is set, below which the changes would be \
                        kept: set one, or name a directory with --storage";
            Failure::new(code::RUN, text)
        })?;
    Ok(data.join("mini_fo/runs"))
}

/// Whether a path is a name alone.
fn is_name(path: &Path) -> bool {
    let mut parts = path.components();
    matches!(parts.next(), Some(std::path::Component::Normal(_)))
        && parts.next().is_none()
        && !path.as_os_str().as_bytes().ends_with(b"/")
}

/// The directory of the run of that name.
pub fn named(name: &Path) -> Option<PathBuf> {
    if !is_name(name) {
        return None;
    }
    let dir = runs().ok()?.join(name);
    note::of(&dir).is_some_and(|note| !note.going).then_some(dir)
}
