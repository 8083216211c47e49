//! The same work on every kind of base and of storage.

use crate::common::{BaseKind, Scene, StorageKind, assert_same_tree, sh, standard_base};

const WORK: &str = "echo more >> f; chmod 600 g; rm d/one; mv d moved; echo x > moved/sub/new
    mv e empty/; rm -r 'long dir'; mkdir 'long dir'; ln script script2; truncate -s 1M big
    dd if=/dev/zero of=big bs=1k count=1 seek=10 conv=notrunc status=none
    mkdir -p n/m; mv fifo n/m/; cp -a moved copy; ln -s f sl; mv link n/; touch -d @77 script
    rm moved/two; mv moved/sub/deep n/deep; rmdir n/m 2>/dev/null || true";

fn on(base: BaseKind, storage: StorageKind) {
    let Some(mut scene) = Scene::on(base, storage, standard_base) else {
        return;
    };
    let plain = scene.plain_copy();
    assert_same_tree(&scene.mnt, &plain);
    sh(&scene.mnt, WORK);
    sh(&plain, WORK);
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
    let more = "rm -rf copy; mv empty/e e; echo y > e/y; rm n/deep/four; rmdir n/deep; mv n N";
    sh(&scene.mnt, more);
    sh(&plain, more);
    scene.now_and_remounted(|mnt| assert_same_tree(mnt, &plain));
}

#[test]
fn base_on_squashfs() {
    for storage in StorageKind::ALL {
        on(BaseKind::Squashfs, storage);
    }
}

#[test]
fn base_on_erofs() {
    for storage in StorageKind::ALL {
        on(BaseKind::Erofs, storage);
    }
}

#[test]
fn base_on_ext4_read_only() {
    for storage in StorageKind::ALL {
        on(BaseKind::Ext4ReadOnly, storage);
    }
}

#[test]
fn base_on_tmpfs() {
    for storage in StorageKind::ALL {
        on(BaseKind::Tmpfs, storage);
    }
}

#[test]
fn base_on_a_plain_directory() {
    for storage in StorageKind::ALL {
        on(BaseKind::Plain, storage);
    }
}

#[test]
fn base_on_an_iso_image() {
    on(BaseKind::Iso, StorageKind::Plain);
}
