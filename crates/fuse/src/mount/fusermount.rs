//! The setuid helper `fusermount3`, which mounts and unmounts for ordinary
//! users and hands the device over a socket.

use std::ffi::{OsStr, OsString};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};

use super::{MountFlags, MountOptions};
use crate::device::Device;
use crate::error::MountError;

/// Names to try; the second where PATH is not that of a user's shell.
const PROGRAMS: [&str; 2] = ["fusermount3", "/usr/bin/fusermount3"];

/// Mounts on `point`, an absolute path.
pub(super) fn mount(point: &Path, options: &MountOptions) -> Result<Device, MountError> {
    let failed = |errno| MountError::Failed { path: point.to_owned(), errno };
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
    let child = start(|command| {
        // The helper takes any descriptor that is a socket; the standard
        // input is the one that needs no unsafe code to pass.
        let theirs = theirs.try_clone()?;
        command
            .env("_FUSE_COMMFD", "0")
            .stdin(Stdio::from(theirs))
            .arg("-o")
            .arg(option_list(options))
            .arg("--")
            .arg(point);
        Ok(())
    })?;
    // With our copy closed, the end of the helper ends the wait below.
    drop(theirs);
    let received = receive(&ours);
    finish(child)?;
    match received.map_err(failed)? {
        Some(fd) => Ok(Device::from_fd(fd)),
        None => Err(MountError::Helper("handed no device over".to_owned())),
    }
}

/// Unmounts `point`.
pub(super) fn unmount(point: &Path, lazy: bool) -> Result<(), MountError> {
    let child = start(|command| {
        command.arg("-u").stdin(Stdio::null());
        if lazy {
            command.arg("-z");
        }
        command.arg("--").arg(point);
        Ok(())
    })?;
    finish(child).map_err(|error| match error {
        MountError::Helper(text) if text.contains("busy") => MountError::Busy(point.to_owned()),
        MountError::Helper(text)
            if text.contains("not found in") || text.contains("Invalid arg") =>
        {
            MountError::NotMounted(point.to_owned())
        }
        error => error,
    })
}

fn start(prepare: impl Fn(&mut Command) -> std::io::Result<()>) -> Result<Child, MountError> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        // Messages are told apart by their words.
        command.env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::piped());
        match prepare(&mut command).and_then(|()| command.spawn()) {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(MountError::Helper(error.to_string())),
        }
    }
    Err(MountError::NoHelper)
}

/// Waits for the helper; its words are the error.
fn finish(child: Child) -> Result<(), MountError> {
    let output = child.wait_with_output().map_err(|e| MountError::Helper(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let text = text.strip_prefix("fusermount3: ").unwrap_or(text);
    Err(if text.contains("user_allow_other") {
        MountError::AllowOther
    } else if text.is_empty() {
        MountError::Helper(output.status.to_string())
    } else {
        MountError::Helper(text.lines().collect::<Vec<_>>().join("; "))
    })
}

/// The descriptor that comes over the socket; `None` if it closes without.
fn receive(socket: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(fds.flatten().next())
}

/// The argument of `-o`.
fn option_list(options: &MountOptions) -> OsString {
    let mut list = b"fsname=".to_vec();
    escape(&mut list, &options.source);
    if let Some(subtype) = &options.subtype {
        list.extend_from_slice(b",subtype=");
        escape(&mut list, OsStr::new(subtype));
    }
    // The helper knows no others. (nosuid and nodev it adds by itself.)
    let names = [
        (MountFlags::RDONLY, "ro"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
        (MountFlags::NOATIME, "noatime"),
    ];
    let flags = names.iter().filter(|(flag, _)| options.flags.contains(*flag));
    let more = [
        (options.allow_other, "allow_other"),
        (options.default_permissions, "default_permissions"),
    ];
    let more = more.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name);
    for name in flags.map(|(_, name)| name).chain(more) {
        list.push(b',');
        list.extend_from_slice(name.as_bytes());
    }
    if let Some(max) = options.max_read {
        list.extend_from_slice(format!(",max_read={max}").as_bytes());
    }
    OsString::from_vec(list)
}

/// Commas end an option, so they are escaped.
fn escape(list: &mut Vec<u8>, text: &OsStr) {
    for &byte in text.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            list.push(b'\\');
        }
        list.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_listed_and_escaped() {
        let options = MountOptions {
            source: OsString::from("a,b"),
            subtype: Some("hello".to_owned()),
            flags: MountFlags::RDONLY | MountFlags::NOSUID,
            allow_other: true,
            ..MountOptions::default()
        };
        let list = option_list(&options);
        assert_eq!(list, "fsname=a\\,b,subtype=hello,ro,allow_other,default_permissions");
    }
}
