#!/bin/bash
# Tries the page of `mini_fo review` in a real Chromium (packages chromium and
# chromium-driver), and takes the picture of it that the documentation shows:
#   scripts/review.sh [FILE]     FILE: docs/review.png
set -euo pipefail
cd "$(dirname "$0")/.."
command -v chromedriver >/dev/null || { echo "review: no chromedriver" >&2; exit 1; }
file=$(realpath -m "${1:-docs/review.png}")
before=$(stat -c %y "$file" 2>/dev/null || true)
MINI_FO_SCREENSHOT=$file cargo test -q -p mini_fo --test mounted -- --nocapture review_browser::
[ "$(stat -c %y "$file" 2>/dev/null || true)" != "$before" ] || { echo "review: no picture was taken" >&2; exit 1; }
echo "$file: $(stat -c %s "$file") bytes"
