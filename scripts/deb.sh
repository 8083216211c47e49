#!/bin/bash
# Makes a Debian package of what `make` has built. Usage: scripts/deb.sh [DIRECTORY]
# The package goes to DIRECTORY (target/ unless given); its name is printed.
# MAINTAINER="Name <address>" says who made it, SOURCE_DATE_EPOCH when: the same input
# gives the same package.
set -eu -o pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
out=$(realpath -m "${1:-$target}")
maintainer=${MAINTAINER:-mini_fo maintainers <mini-fo@users.noreply.github.com>}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$version-1
arch=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

for tool in dpkg-deb dpkg-shlibdeps strip; do
    command -v "$tool" >/dev/null || {
        echo "deb: $tool is missing: apt-get install dpkg-dev binutils" >&2
        exit 1
    }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
doc=$stage/usr/share/doc/mini-fo
umask 022

make --silent install DESTDIR="$stage" PREFIX=/usr >/dev/null
# A build for tests has symbols.
strip --strip-unneeded --remove-section=.comment "$stage/usr/bin/mini_fo"
# Links of a package do not leave its own tree.
find "$stage" -type l | while read -r link; do
    ln -sfnr "$stage$(readlink "$link")" "$link"
done
find "$stage/usr/share/man" -type f -exec gzip -9n {} +
ln -s mini_fo-discard.1.gz "$stage/usr/share/man/man1/mini_fo-reset.1.gz"
ln -s mount.mini_fo.8.gz "$stage/usr/share/man/man8/mount.fuse.mini_fo.8.gz"
ln -s ../man1/mini_fo-init.1.gz "$stage/usr/share/man/man8/mini_fo-init.8.gz"

install -d "$doc" "$stage/DEBIAN"
install -m 644 README.md docs/*.md "$doc"
gzip -9n "$doc"/*.md
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
gzip -9n >"$doc/changelog.Debian.gz" <<END
mini-fo ($revision) unstable; urgency=medium

  * Made from the sources of $version.

 -- $maintainer  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
# Of both licences, MIT is printed; Debian has the other.
{
    cat <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: mini_fo

Files: *
Copyright: 2026 the mini_fo authors
License: Expat or Apache-2.0

License: Expat
END
    sed -n '/^Permission/,$p' LICENSE-MIT | sed 's/^$/./; s/^/ /'
    cat <<END

License: Apache-2.0
 On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.
END
} >"$doc/copyright"
chmod 644 "$doc"/*

mkdir "$work/debian"
touch "$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O stage/usr/bin/mini_fo 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
size=$(du -k -s --apparent-size "$stage" | cut -f1)
cat >"$stage/DEBIAN/control" <<END
Package: mini-fo
Version: $revision
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $size
Depends: $depends
Recommends: fuse3
Section: utils
Priority: optional
Homepage: $(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
Description: makes any read-only tree writable
 mini_fo shows a directory tree that cannot or must not change as an ordinary
 one that can be written: a CD, a squashfs image, the root of a device. The
 tree itself is never touched; every change goes to another directory.
 .
 It tells what has changed (mini_fo status, mini_fo diff, mini_fo review),
 throws changes away (mini_fo discard), or writes them into the tree after all
 (mini_fo commit). It needs no root. It can be the root of a device or a live
 system (mini_fo-init), and the mount program of podman.
END
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
find "$stage" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
package=$out/mini-fo_${revision}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$stage" "$package" >/dev/null
echo "$package"
