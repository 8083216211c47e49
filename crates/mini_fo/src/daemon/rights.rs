//! What the daemon may do. It acts for everybody, so it keeps no right that it
//! does not need, and cannot get one back.
#![forbid(unsafe_code)]

use mini_fo_core::procfs;
use rustix::io::Errno;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capabilities_secure_bits,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

/// What is kept, and why (capabilities(7)).
const KEPT: [(CapabilitySet, &str); 17] = [
    (CapabilitySet::CHOWN, "copies and new objects get their owners"),
    (CapabilitySet::DAC_OVERRIDE, "the storage may be closed to the daemon's user"),
    (CapabilitySet::DAC_READ_SEARCH, "so may the base; unnamed copies get a name by descriptor"),
    (CapabilitySet::FOWNER, "modes, times, ACLs, flags of others' objects; O_NOATIME"),
    (CapabilitySet::FSETID, "a copy, and a chmod, may have the set-group-ID bit of any group"),
    (CapabilitySet::LEASE, "a lease on others' files tells whether one is mapped"),
    (CapabilitySet::LINUX_IMMUTABLE, "chattr +i and +a, and what is made below such directories"),
    (CapabilitySet::MAC_ADMIN, "labels of security modules are copied as they are"),
    (CapabilitySet::MAC_OVERRIDE, "so are they where the policy would not let the daemon write"),
    (CapabilitySet::MKNOD, "devices"),
    (CapabilitySet::SETFCAP, "file capabilities are copied"),
    (CapabilitySet::SETUID, "space is taken as the caller (mini_fo_core::Rights)"),
    (
        CapabilitySet::SYS_ADMIN,
        "mount, umount, the sealed clone of the base, passthrough, trusted.* and security.*",
    ),
    (CapabilitySet::SYS_NICE, "threads leave SCHED_IDLE, under which they wait, for long work"),
    (CapabilitySet::SYS_CHROOT, "a root of its own, and the way back to where it has mounted"),
    (CapabilitySet::SYS_PTRACE, "what a caller may do is read in /proc"),
    (CapabilitySet::SYS_RESOURCE, "set aside; taken on for a caller who holds it"),
];

/// Gives up what is not needed. To be called before any thread is started, for
/// rights are a matter of each thread. The result tells whether the daemon can
/// act as other users.
///
/// An ordinary user has nothing to give up, and `fusermount3`, which unmounts
/// for him at the end, has to become root.
pub fn give_up_rights() -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let given_up = set_no_new_privs(true).and_then(|()| give_up());
    if let Err(errno) = &given_up {
        tracing::warn!("the daemon keeps rights that it does not need: {errno}");
    }
    given_up.unwrap_or(false)
}

fn give_up() -> Result<bool, Errno> {
    let kept = KEPT.iter().fold(CapabilitySet::empty(), |all, (one, _)| all | *one);
    // Else the other rights would go with the user ID.
    let bits = capabilities_secure_bits()? | CapabilitiesSecureBits::NO_SETUID_FIXUP;
    let stays = set_capabilities_secure_bits(bits).is_ok();
    for unneeded in CapabilitySet::all().difference(kept).iter() {
        // Unknown to this kernel, or no right to (then nothing can be regained
        // either, for nothing is executed).
        let _ = remove_capability_from_bounding_set(unneeded);
    }
    // Before 4.3 there are none.
    let _ = clear_ambient_capability_set();
    let held = capabilities(None)?;
    let permitted = held.permitted & kept;
    let effective = held.effective & kept & !CapabilitySet::SYS_RESOURCE;
    set_capabilities(
        None,
        CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() },
    )?;
    Ok(stays && effective.contains(CapabilitySet::SETUID) && is_initial_namespace())
}

/// Only there do the user IDs that the kernel tells, and the reserves of file
/// systems, mean what they say.
pub fn is_initial_namespace() -> bool {
    let map = procfs::read("self/uid_map").unwrap_or_default();
    String::from_utf8_lossy(&map).split_whitespace().eq(["0", "0", "4294967295"])
}
