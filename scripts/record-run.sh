#!/bin/bash
# Records docs/run.svg, which the README shows: a program is installed by 'mini_fo run', what
# that has changed is looked at, one file stays, the rest goes. All that is shown was said by
# the real program; nothing is written but that file, and what is taken away at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/docs/run.svg

# MINI_FO names a program that is there already.
[ -n "${MINI_FO:-}" ] || cargo build --release --quiet -p mini_fo
program=${MINI_FO:-${CARGO_TARGET_DIR:-$PWD/target}/release/mini_fo}
work=$(mktemp -d "${TMPDIR:-/tmp}/mini_fo-record-XXXXXX")
trap 'cd /; rm -rf --one-file-system "$work"' EXIT
mkdir "$work/bin" "$work/tool"
cp "$program" "$work/bin/"
export HOME=$work PATH=$work/bin:$PATH
unset XDG_DATA_HOME

cd "$work/tool"
printf 'port = 80\ncolor = blue\n' > tool.conf
printf '#!/bin/sh\necho tool: $(head -1 /etc/tool.conf)\n' > tool
printf 'install:\n\tinstall -m 755 tool /usr/local/bin\n\tinstall -m 644 tool.conf /etc\n\trm -r /usr/share/man\n' > Makefile

# Each line is shown as it is run. Of what a program has found its exit status tells more than
# is wanted here.
session() {
    while IFS= read -r line; do
        printf '$ %s\n' "$line"
        bash -c "$line" 2>&1 | fold -s -w 96 || true
    done <<'END'
mini_fo run --name try -- make install
ls /etc/tool.conf
mini_fo status try
mini_fo diff try etc/tool.conf
mini_fo discard --yes try usr
mini_fo run --name try --quiet -- sh -c 'cat /etc/tool.conf; ls -d /usr/share/man'
mini_fo rm --yes try
END
}

# One row of text for each line; characters that XML means otherwise are written as it wants.
draw() {
    awk '
        { gsub(/&/, "\\&amp;"); gsub(/</, "\\&lt;"); gsub(/>/, "\\&gt;"); text[NR] = $0 }
        END {
            height = NR * 18 + 28
            printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"%d\" ", height
            print "font-family=\"monospace\" font-size=\"13\">"
            printf "<rect width=\"820\" height=\"%d\" rx=\"6\" fill=\"#1b1f24\"/>\n", height
            for (i = 1; i <= NR; i++) {
                color = text[i] ~ /^\$ / ? "#7ee787" : text[i] ~ /^\+/ ? "#79c0ff" : "#d0d7de"
                printf "<text x=\"16\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n", \
                    i * 18 + 12, color, text[i]
            }
            print "</svg>"
        }'
}

session | sed "s|$work|~|g" | draw > "$out.new"
mv "$out.new" "$out"
echo "$out"
