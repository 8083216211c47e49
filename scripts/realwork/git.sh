#!/bin/bash
# git: a large repository of the base is worked in, collected and checked, and
# cloned, in the mount. Everything is pinned, so that the same work has the same
# commit ids.
. "$(dirname "$0")/common.sh"
needs git perl

export HOME=$place GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=e GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=e
export GIT_AUTHOR_DATE='1136214245 +0000' GIT_COMMITTER_DATE='1136214245 +0000'
git config --global safe.directory '*'
git config --global gc.auto 0
git config --global init.defaultBranch main
git config --global advice.detachedHead false

commits=2500
files=2500

# The history as a stream for git fast-import: texts that grow, are replaced and
# removed, some files moved, all from one seed.
history() {
    perl -e '
        my ($commits, $files) = @ARGV;
        my $seed = 42;
        sub draw { $seed = ($seed * 1103515245 + 12345) & 0x7fffffff; return ($seed >> 8) % $_[0]; }
        sub path { my $n = shift; return sprintf("d%02d/s%d/file%04d.txt", $n % 40, $n % 7, $n); }
        sub text { return join("", map { "line $_ " . join(" ", map { draw(100000) } 1 .. 6) . "\n" } 1 .. $_[0]); }
        my %text;
        for my $c (1 .. $commits) {
            my $message = "change $c\n";
            print "commit refs/heads/main\ncommitter n <e> ", 1136214245 + $c, " +0000\n",
                "data ", length $message, "\n$message";
            for my $n ($c == 1 ? 1 .. $files : map { draw($files) } 1 .. 4) {
                my $kind = draw(20);
                if ($kind == 0 && $c > 1 && defined $text{$n}) { print "D ", path($n), "\n"; delete $text{$n}; next; }
                $text{$n} = defined $text{$n} && $kind < 16 ? $text{$n} . text(3) : text(10 + draw(40));
                print "M ", $kind == 19 ? "100755" : "100644", " inline ", path($n),
                    "\ndata ", length $text{$n}, "\n$text{$n}\n";
            }
        }' "$commits" "$files"
}

fill() {
    git init -q "$base/repo"
    cd "$base/repo" || exit 1
    history | git fast-import --quiet
    git checkout -q -f main
    git tag start
    # Half of the objects loose, as in a repository that is worked in.
    git rev-list --objects HEAD~20..HEAD | cut -d' ' -f1 > ../recent
    mkdir ../pack && mv .git/objects/pack/*.pack ../pack/ && rm -f .git/objects/pack/*
    git unpack-objects -q < "$(echo ../pack/*.pack)"
    git repack -q -d --keep-unreachable HEAD~1000 2>/dev/null || git repack -q -d
    rm -r ../pack ../recent
}

# What is in a repository, whatever its packs look like.
contents() {
    git for-each-ref --format='%(refname) %(objectname)'
    git rev-list --objects --all --no-object-names | sort | sha256sum
    git status --porcelain
}

status() { cd repo && git status --porcelain && git diff --stat start && git fsck --full --strict; }

work() {
    cd repo
    git checkout -q -b side start~200
    for i in 1 2 3 4 5; do
        date -d "@$((1136214245 + i))" -u > "new$i"
        git mv "d0$i" "moved$i"
        git rm -q -r "d1$i"
        git add -A && git commit -q -m "side $i"
    done
    git checkout -q main
    git merge -q -X ours --no-edit side > /dev/null 2>&1 || { git add -A && git commit -q -m merged; }
    git checkout -q -b rebased side~2
    echo rebased > on-top && git add -A && git commit -q -m on-top && git rebase -q side 2>&1
    git checkout -q main
    echo dirty >> "$(git ls-files | head -n 1)" && git stash -q && git stash pop -q
    git checkout -q -f main
    git worktree add -q ../tree side && git -C ../tree status --porcelain
    git -C ../tree ls-files -s | sha256sum
    contents
}

collect() {
    cd repo
    git reflog expire --expire=now --all
    git gc --quiet --aggressive --prune=now
    git fsck --full --strict
    git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
    contents
}

clone() {
    git clone -q --no-local repo clone
    git clone -q --local repo hardlinked
    git clone -q --bare repo bare
    for repo in clone hardlinked bare; do
        git -C "$repo" fsck --full --strict
        git -C "$repo" rev-parse HEAD
    done
    (cd clone && echo pushed > pushed && git add -A && git commit -q -m pushed && git push -q origin HEAD:pushed 2>&1)
    (cd clone && git gc -q --aggressive --prune=now && git fsck --full --strict && contents)
    (cd hardlinked && git checkout -q -b old start~2000 && git ls-files -s | sha256sum && git checkout -q main && contents)
    git -C repo rev-parse pushed
}

check() {
    for repo in repo clone hardlinked; do
        git -C "$repo" fsck --full --strict
        (cd "$repo" && contents)
    done
}

prepare git
(fill) || left_out "the history could not be made"
scene
both "status, diff and fsck of $commits commits on $files files" status
both "branches, renames, merge, rebase, stash, worktree" work
both "gc --aggressive and fsck" collect
both "clones, push, gc in the clone" clone
remount cold
both "all of it after a remount" check
# The index holds inode numbers and times, packs and reflogs depend on threads
# and clock.
same_tree "the working trees are the same" "$plain" "$mnt" '' '(^|/)\.git(/|[[:space:]]|$)|^bare/|  \./bare/|^# file: (.*/\.git/|bare)|^link .*(\.git|bare)/'
end_scene
finish
