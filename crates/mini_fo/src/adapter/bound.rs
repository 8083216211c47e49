//! A bound of the nodes that are known. The kernel decides what it knows, and
//! keeps it until it needs the memory; so above the bound it is asked to drop
//! what nobody uses (Linux 6.18), which is looked up again when it is needed.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use fuse_server::Notifier;
use mini_fo_core::Overlay;
use rustix::io::Errno;

/// Known nodes above which the kernel is asked to drop some, where no option
/// says otherwise: less than a GiB with names of common length.
pub const MOST: usize = 4 << 20;

/// How often the number is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps an eye on the number of nodes as long as the mount lives, in a thread
/// of its own: the kernel takes locks to drop what it knows.
pub fn watch(most: usize, overlay: &Arc<Overlay>, notifier: &Notifier) {
    let (overlay, notifier) = (Arc::downgrade(overlay), notifier.clone());
    let look = move || {
        let (mut part, mut above, mut refused) = (0, false, false);
        loop {
            std::thread::sleep(EVERY);
            let Some(overlay) = overlay.upgrade() else { return };
            // After a commit that has failed there is nothing to look after.
            let Ok(pass) = overlay.pass() else { return };
            overlay.close_if_idle();
            drop(pass);
            let known = overlay.known_nodes();
            if refused || known <= most {
                if std::mem::take(&mut above) {
                    tracing::debug!("{known} nodes are left");
                }
                continue;
            }
            above = true;
            match drop_some(most, &overlay, &notifier, &mut part) {
                Ok(()) => {}
                Err(Errno::INVAL) if !refused => {
                    tracing::info!("the kernel keeps what it knows until it needs the memory");
                    refused = true;
                }
                Err(Errno::INVAL) => {}
                // Unmounted.
                Err(Errno::NOTCONN | Errno::NODEV) => return,
                // For want of memory, say: it is asked again soon.
                Err(errno) => tracing::debug!("the kernel drops nothing: {errno}"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("known nodes".to_owned()).spawn(look);
    if let Err(error) = thread {
        tracing::warn!("the number of known nodes has no bound: no thread: {error}");
    }
}

/// Asks the kernel to drop a quarter of what is allowed, from `part` on, so
/// that all nodes have their turn.
fn drop_some(
    most: usize,
    overlay: &Overlay,
    notifier: &Notifier,
    part: &mut usize,
) -> Result<(), Errno> {
    let known = overlay.known_nodes();
    let mut left = known.saturating_sub(most - most / 4);
    let mut turned = false;
    while left > 0 {
        let Some(nodes) = overlay.leaf_nodes(*part) else {
            if turned {
                break;
            }
            (*part, turned) = (0, true);
            continue;
        };
        *part += 1;
        let ids: Vec<u64> = nodes.iter().map(|node| node.0).take(left).collect();
        left -= ids.len();
        match notifier.prune(&ids) {
            // It has dropped one by itself meanwhile.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    // What it drops it tells a moment later.
    tracing::debug!("{known} nodes were known, more than {most}");
    Ok(())
}
