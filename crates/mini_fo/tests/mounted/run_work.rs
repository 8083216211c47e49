//! `mini_fo run` at work: installing, destroying, a terminal.

use crate::common::{WorkDir, skip, skip_unless};
use crate::run::{as_user, no_namespaces};
use crate::user::skipped;

#[test]
fn an_ordinary_user_installs_into_the_system() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["make"]) || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir src; printf 'install:\n\tinstall -D -m 755 tool $(DESTDIR)/usr/local/bin/mini_fo_tool\n' > src/Makefile
        printf '#!/bin/sh\necho works\n' > src/tool
        $MINI_FO run -q --name made -- make -s -C src install DESTDIR=/
        test ! -e /usr/local/bin/mini_fo_tool
        test "$($MINI_FO run -q --name made -- mini_fo_tool)" = works
        $MINI_FO status made > said || test $? = 1
        grep -q 'added *usr/local/bin/mini_fo_tool' said; $MINI_FO rm --yes made; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// Packages of languages: their programs are installed into the system, and are there the next
/// time.
#[test]
fn packages_are_installed() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let wheel = r#"
        PATH=/usr/local/bin:/usr/bin:/bin; python3 -m pip --version >/dev/null 2>&1 || { echo missing; exit 0; }
        python3 -c 'import zipfile
z=zipfile.ZipFile("mini_fo_trial-1-py3-none-any.whl","w"); d="mini_fo_trial-1.dist-info/"
z.writestr("mini_fo_trial.py","def main(): print(\"from pip\")\n")
z.writestr(d+"METADATA","Metadata-Version: 2.1\nName: mini_fo_trial\nVersion: 1\n")
z.writestr(d+"WHEEL","Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
z.writestr(d+"entry_points.txt","[console_scripts]\nmini_fo_trial=mini_fo_trial:main\n")
z.writestr(d+"RECORD","")'
        export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
        $MINI_FO run -q --name pip -- python3 -m pip install -q --no-user --no-index ./mini_fo_trial-1-py3-none-any.whl
        test "$($MINI_FO run -q --name pip -- mini_fo_trial)" = "from pip"
        test ! -e /usr/local/bin/mini_fo_trial
        $MINI_FO status pip > said || test $? = 1; grep -q 'added *usr/.*bin/mini_fo_trial' said; echo done"#;
    let package = r#"
        PATH=/usr/local/bin:/usr/bin:/bin; npm --version >/dev/null 2>&1 || { echo missing; exit 0; }
        mkdir trial; printf '#!/usr/bin/env node\nconsole.log("from npm")\n' > trial/main.js; chmod +x trial/main.js
        printf '{"name":"mini_fo_trial","version":"1.0.0","bin":{"mini_fo_trial":"main.js"}}' > trial/package.json
        (cd trial; npm pack --silent >/dev/null)
        $MINI_FO run -q --name npm -- npm install --silent --offline --no-audit --no-fund \
            --prefix /usr/local -g ./trial/mini_fo_trial-1.0.0.tgz
        test "$($MINI_FO run -q --name npm -- mini_fo_trial)" = "from npm"
        test ! -e /usr/local/bin/mini_fo_trial; echo done"#;
    for (tool, script) in [("pip", wheel), ("npm", package)] {
        let said = as_user(&work, script).ok();
        if said.ends_with("missing\n") {
            skip(&format!("an ordinary user has no {tool} here"));
            continue;
        }
        assert!(said.ends_with("done\n"), "{tool}: {said}");
    }
}

/// As far as a program comes in some seconds. That single files stay is tried elsewhere
/// before, and the user has no right to delete most of them. /run is left out: what else
/// runs on the machine writes there.
#[test]
fn the_system_survives_its_deletion() {
    let work = WorkDir::new();
    if skipped() || no_namespaces(&work) {
        return;
    }
    let script = r#"
        mkdir -p keep/me; echo precious > keep/own; mark=/dev/shm/mini_fo-$$; touch $mark
        system() { find /etc /usr/bin /usr/sbin /opt /boot $HOME/keep $mark -xdev \
            -printf '%p %i %m %U %G %s %T@\n' 2>/dev/null | sort; }
        system > before
        $MINI_FO run --on-exit discard -- sh -c '
            test -e "$1"; rm -rf "$1"; timeout 20 rm -rf --no-preserve-root / ; test ! -e "$1"' \
            sh $HOME/keep > said 2>&1 || true
        system > after; rm $mark
        grep -q 'deleted, which are gone' said; diff before after >&2; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}

/// A shell of its own has the terminal: its size, Ctrl-C, Ctrl-Z and `fg`.
#[test]
fn a_terminal_is_the_command_s() {
    let work = WorkDir::new();
    if skipped() || skip_unless(&["python3"]) || no_namespaces(&work) {
        return;
    }
    let script = r#"cat > talk.py <<'END'
import fcntl, os, pty, struct, sys, termios, select
pid, tty = pty.fork()
if pid == 0:
    os.environ["PS1"] = "outer> "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
seen = b""
def until(word):
    global seen
    while word not in seen:
        ready = select.select([tty], [], [], 60)[0]
        assert ready, (word, seen)
        seen += os.read(tty, 4096)
    seen = seen[seen.index(word) + len(word):]
def say(text): os.write(tty, text)
# The shell hands the terminal over a moment after it has said so.
def press(key, word):
    global seen
    for _ in range(200):
        say(key)
        while select.select([tty], [], [], 0.3)[0]:
            seen += os.read(tty, 4096)
            if word in seen: return until(word)
    assert False, (word, seen)
until(b"outer> ")
run = sys.argv[1].encode() + b" run -q "
# Directly: what the terminal sends, the command gets.
say(run + b"sh -c 'trap \"echo int'errupted'; exit 5\" INT; echo re'ady'; while :; do sleep 0.05; done'; echo st'atus' $?\n")
until(b"ready"); say(b"\x03"); until(b"interrupted"); until(b"status 5")
say(run + b"sh -c 'echo st'arted'; exec sleep 600'\n"); until(b"started")
press(b"\x1a", b"Stopped"); until(b"outer> ")
say(b"fg\n"); until(b"sleep 600"); press(b"\x03", b"outer> ")
say(b"echo st'atus' $?\n"); until(b"status 130")
# A shell in it.
say(run + b"env PS1=in'n'er: bash --norc --noprofile -i\n"); until(b"inner:")
fcntl.ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
say(b"stty size\n"); until(b"33 77")
say(b"sh -c 'echo sl''eeping; exec sleep 600'\n"); until(b"sleeping")
press(b"\x1a", b"Stopped")
say(b"kill %1; touch in'side'; ls\n"); until(b"inside")
say(b"exit 7\n"); until(b"outer> "); say(b"echo st'atus' $?\n"); until(b"status 7")
say(b"ls in'side'\n"); until(b"cannot access"); say(b"exit\n")
os.waitpid(pid, 0)
END
        python3 talk.py $MINI_FO; echo done"#;
    let said = as_user(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}
