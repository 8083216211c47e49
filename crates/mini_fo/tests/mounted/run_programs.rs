//! `mini_fo run`: programs and libraries of the base, which in runs of root are read past the
//! daemon, are written all the same.

use crate::common::WorkDir;
use crate::run::as_root;
use crate::user::skipped;

/// Of what is a program nobody is told wrong content, whatever way it is read, and none of it
/// reaches the base.
#[test]
fn programs_that_are_read_are_written() {
    let work = WorkDir::new();
    if skipped() {
        return;
    }
    let script = r#"
        program=$(readlink -f /bin/bash); for n in 1 2 3 4 5 6 7 8; do cp $program prog$n; done
        $MINI_FO run -q --name past -- bash -euc '
            sum=$(sha256sum < prog1); number=$(stat -c %i prog1); exec 3< prog1
            test "$sum" = "$(sha256sum < prog1)"
            # Who writes it has a copy, who reads it goes on with what it was.
            printf Z | dd of=prog1 conv=notrunc status=none
            test "$(head -c 1 prog1)" = Z; test $(stat -c %i prog1) = $number
            # Where the kernel has no passthrough he sees what is written.
            past=no; test "$sum" != "$(sha256sum <&3)" || past=yes; exec 3<&-
            unchanged() { test $past = no || test "$sum" = "$(sha256sum <&3)"; }
            printf Y | dd of=prog1 conv=notrunc status=none; test "$(head -c 1 prog1)" = Y
            exec 3< prog2; truncate -s 0 prog2; test ! -s prog2; unchanged
            exec 3< prog3; echo more >> prog3; test "$(tail -c 5 prog3)" = more
            unchanged; test "$(tail -c 5 prog3)" = more
            # Other attributes and another name change nothing of that: then there is no other
            # file to be written.
            exec 3< prog4; chmod 700 prog4; mv prog4 moved; test "$sum" = "$(sha256sum < moved)"
            got=yes; { echo more >> moved; } 2>said || got=no; test $got != $past
            test $past = no || grep -q "Text file busy" said
            unchanged; exec 3<&-; echo more >> moved; test "$(tail -c 5 moved)" = more
            # One that runs, one that ran, one that goes, one that gets another name.
            ./prog5 -c "{ ! echo more >> prog5; } 2>said || exit 1; rm prog5; test ! -e prog5"
            ./prog6 -c true; echo more >> prog6; ./prog6 -c true; test "$(tail -c 5 prog6)" = more
            exec 3< prog7; rm prog7; test "$sum" = "$(sha256sum <&3)"; cp /bin/sh prog7
            cmp /bin/sh prog7; exec 3<&-
            ln prog8 prog9; echo more >> prog9; test "$(tail -c 5 prog8)" = more; ./prog8 -c true'
        for n in 1 2 3 4 5 6 7 8; do cmp $program prog$n; done
        # What comes next sees it, read past the daemon and not.
        for options in passthrough nopassthrough; do
            $MINI_FO run -q --name past -o $options -- bash -euc '
                test "$(head -c 1 prog1)$(tail -c 5 prog6)" = Ymore; ./prog6 -c true; ./moved -c true'
        done
        $MINI_FO rm --yes past; echo done"#;
    let said = as_root(&work, script).ok();
    assert!(said.ends_with("done\n"), "{said}");
}
