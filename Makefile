# mini_fo: build, install, test.
#
#   make                      release build with man pages and completions
#   sudo make install         to PREFIX (/usr/local); builds nothing
#   make install DESTDIR=/tmp/package PREFIX=/usr
#   make uninstall
#   make test | demo | lint | deny
#   sudo make counts          requests and system calls of each operation
#   make realwork             real programs in the mount, for some ten minutes
#   sudo make torture         the daemon killed and failed at each storage call, and cuts
#   sudo make cuts            the power cut below the storage
#   make test-podman          podman and buildah on mini_fo, and on fuse-overlayfs
#   make test-boot            whole systems in QEMU, on kernels that are fetched
#   make scale                big directories; as root also big trees
#   make deb                  a Debian package, in target/
#   sudo make bench           everybody compared, for some twenty minutes
#   sudo make bench-run       'mini_fo run' compared with other ways to run a command apart
#   sudo make conformance     who keeps which promise: target/conformance.md
#
# mount(8) looks for its helpers in /sbin only, whatever the prefix: SBINDIR.

PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
LIBEXEC ?= $(PREFIX)/libexec/mini_fo
SBINDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/sbin,/sbin)
MANDIR  ?= $(PREFIX)/share/man
DATADIR ?= $(PREFIX)/share
DESTDIR ?=
CARGO   ?= cargo
INSTALL ?= install

TARGET  := $(or $(CARGO_TARGET_DIR),target)
PROGRAM := $(TARGET)/release/mini_fo
DOCS    := $(TARGET)/docs

SOURCES := $(shell find crates -name '*.rs' -o -name '*.html' -o -name Cargo.toml) Cargo.toml Cargo.lock

MAN1        := mini_fo.1 mini_fo-mount.1 mini_fo-umount.1 mini_fo-list.1 mini_fo-check.1 mini_fo-du.1 \
               mini_fo-status.1 mini_fo-diff.1 mini_fo-discard.1 mini_fo-commit.1 mini_fo-review.1 \
               mini_fo-run.1 mini_fo-rm.1 mini_fo-init.1 mini_fo-shutdown.1 mini_fo-overlay.1 mini_fo-merge.1
MAN8        := mount.mini_fo.8
# What were scripts in 2005.
SCRIPTS     := mini_fo-overlay mini_fo-merge
# mount(8) calls the second name when a live mount is mounted again; the kernel
# calls the third.
HELPERS     := mount.mini_fo mount.fuse.mini_fo mini_fo-init
# systemd calls what is here, and only here, as the last step.
HOOK        := /usr/lib/systemd/system-shutdown/mini_fo.shutdown
BASH_DIR    := $(DATADIR)/bash-completion/completions
ZSH_DIR     := $(DATADIR)/zsh/site-functions
FISH_DIR    := $(DATADIR)/fish/vendor_completions.d

# A directory that is there, or can be made, and written in.
outside = { $(INSTALL) -d $(DESTDIR)$(1) && test -w $(DESTDIR)$(1); } 2>/dev/null

.PHONY: all install uninstall test test-boot test-podman realwork torture cuts demo bench bench-run scale counts conformance lint deny deb clean

all: $(PROGRAM) $(DOCS)/.made

$(PROGRAM): $(SOURCES)
	@CARGO="$(CARGO)" scripts/rust.sh
	$(CARGO) build --release -p mini_fo
	@touch $@

$(DOCS)/.made: $(SOURCES)
	@CARGO="$(CARGO)" scripts/rust.sh
	$(CARGO) run --quiet -p mini_fo --features docgen --bin docgen -- $(DOCS)
	@touch $@

# No dependency on `all`: under sudo there may be no cargo. What lies outside of
# PREFIX an ordinary user leaves out, and is told what he lacks.
install:
	@test -x $(PROGRAM) -a -e $(DOCS)/.made || { echo 'Run "make" first.' >&2; exit 1; }
	@$(INSTALL) -d $(DESTDIR)$(BINDIR) && test -w $(DESTDIR)$(BINDIR) || { \
		echo 'No right to write in $(DESTDIR)$(BINDIR): sudo make install, or' \
			'make install PREFIX=~/.local' >&2; exit 1; }
	$(INSTALL) -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/mini_fo
	for name in $(SCRIPTS); do ln -sf $(BINDIR)/mini_fo $(DESTDIR)$(BINDIR)/$$name || exit 1; done
	$(INSTALL) -d $(DESTDIR)$(LIBEXEC)
	ln -sf $(BINDIR)/mini_fo $(DESTDIR)$(LIBEXEC)/fuse-overlayfs
	@if $(call outside,$(SBINDIR)) && $(call outside,$(dir $(HOOK))); then \
		for name in $(HELPERS); do \
			ln -sf $(BINDIR)/mini_fo $(DESTDIR)$(SBINDIR)/$$name || exit 1; \
		done; \
		ln -sf $(BINDIR)/mini_fo $(DESTDIR)$(HOOK); \
	elif test "$$(id -u)" = 0; then \
		echo 'Cannot write in $(DESTDIR)$(SBINDIR) and $(DESTDIR)$(dir $(HOOK))' >&2; exit 1; \
	else \
		echo 'Left out, as only root may write there: $(addprefix $(SBINDIR)/,$(HELPERS))' \
			'$(HOOK). So "mount -t mini_fo", lines in /etc/fstab and booting with' \
			'mini_fo do not work; "mini_fo mount" does.'; \
	fi
	$(INSTALL) -d $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8
	$(INSTALL) -m 644 $(addprefix $(DOCS)/man/,$(MAN1)) $(DESTDIR)$(MANDIR)/man1
	$(INSTALL) -m 644 $(addprefix $(DOCS)/man/,$(MAN8)) $(DESTDIR)$(MANDIR)/man8
	$(INSTALL) -d $(DESTDIR)$(BASH_DIR) $(DESTDIR)$(ZSH_DIR) $(DESTDIR)$(FISH_DIR)
	$(INSTALL) -m 644 $(DOCS)/completions/mini_fo.bash $(DESTDIR)$(BASH_DIR)/mini_fo
	$(INSTALL) -m 644 $(DOCS)/completions/_mini_fo $(DESTDIR)$(ZSH_DIR)/_mini_fo
	$(INSTALL) -m 644 $(DOCS)/completions/mini_fo.fish $(DESTDIR)$(FISH_DIR)/mini_fo.fish

uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,mini_fo $(SCRIPTS)) $(DESTDIR)$(LIBEXEC)/fuse-overlayfs
	-rmdir $(DESTDIR)$(LIBEXEC) 2>/dev/null
	-rm -f $(addprefix $(DESTDIR)$(SBINDIR)/,$(HELPERS)) $(DESTDIR)$(HOOK)
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man1/,$(MAN1))
	rm -f $(addprefix $(DESTDIR)$(MANDIR)/man8/,$(MAN8))
	rm -f $(DESTDIR)$(BASH_DIR)/mini_fo $(DESTDIR)$(ZSH_DIR)/_mini_fo
	rm -f $(DESTDIR)$(FISH_DIR)/mini_fo.fish

deb: all
	scripts/deb.sh

test:
	scripts/test.sh

# JOBS="git rsync" runs these alone; MINI_FO=... another build.
realwork: $(PROGRAM)
	MINI_FO=$(or $(MINI_FO),$(abspath $(PROGRAM))) scripts/realwork.sh $(JOBS)

test-podman: $(PROGRAM)
	MINI_FO=$(or $(MINI_FO),$(abspath $(PROGRAM))) scripts/podman.sh

# BOOT="load persists" boots these alone; scripts/boot.sh --list.
test-boot: $(PROGRAM)
	MINI_FO=$(or $(MINI_FO),$(abspath $(PROGRAM))) scripts/boot.sh $(BOOT)

# TORTURE="--only 'rename_*' --transport classic": mini_fo_torture kill --help.
torture:
	$(CARGO) build -p mini_fo -p mini_fo_torture
	failed=; scripts/torture.sh $(or $(TORTURE),--transport both) || failed=1; \
		scripts/cuts.sh $(CUTS) || failed=1; test -z "$$failed"

# CUTS="--only dir-moved --cuts 20 -v"; FS="ext4 xfs".
cuts:
	$(CARGO) build -p mini_fo -p mini_fo_torture
	scripts/cuts.sh $(CUTS)

demo:
	scripts/demo.sh

# BENCH="--quick", "--full", "--only trees --fs native,mini_fo": --help says more.
bench: $(PROGRAM)
	scripts/bench-setup.sh --bench $(BENCH)
	MINI_FO=$(or $(MINI_FO),$(PROGRAM)) $(CARGO) run --release -p mini_fo_bench -- \
		--json $(TARGET)/bench.json --svg $(TARGET)/bench.svg $(BENCH)

# 'mini_fo run' beside other ways to keep apart what a command changes.
bench-run: $(PROGRAM)
	MINI_FO=$(abspath $(or $(MINI_FO),$(PROGRAM))) $(CARGO) run --release -p mini_fo_bench \
		--bin mini_fo_bench_run -- $(BENCH)

# SCALE_DIR: where to make the files (some 6 GiB); SCALE_FILES: in the big tree.
scale: $(PROGRAM)
	$(CARGO) build --release -p mini_fo_core --example scale
	MINI_FO=$(abspath $(PROGRAM)) SCALE=$(abspath $(TARGET))/release/examples/scale \
		scripts/scale.sh

# DIR=/mnt/disk counts on another file system.
counts: $(PROGRAM)
	$(CARGO) run --quiet -p mini_fo --example counts -- $(PROGRAM) $(or $(DIR),$(TARGET))

conformance: $(PROGRAM)
	scripts/bench-setup.sh
	$(CARGO) build -p mini_fo_conformance
	$(TARGET)/debug/mini_fo_conformance compare --mini-fo $(PROGRAM) \
		--markdown $(TARGET)/conformance.md

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --quiet --workspace --no-deps \
		--document-private-items
	scripts/msrv.sh

deny:
	scripts/deny.sh

clean:
	$(CARGO) clean
