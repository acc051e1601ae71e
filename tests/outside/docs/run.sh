#!/usr/bin/env bash
# Runs what the documents tell people to type: every ```sh block of README.md, docs/ and packaging/, page by page, each
# page in a folder of its own, against a demo that has played its story. A block under `<!-- not run: why -->` is left out
# and counted. Then makes the README's transcript again and compares.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
#   run.sh --write [BINARY]     writes the transcript into the README
# One line per part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
write=
[ "${1:-}" = --write ] && { write=--write; shift; }
# shellcheck source=../begin.sh
. "$here/../begin.sh"

for tool in python3 curl; do
  command -v "$tool" >/dev/null || { skip docs "$tool not found (apt-get install $tool)"; exit "$failed"; }
done
timeout "$PART_SECONDS_MAX" "$bin" demo --once >"$work/once.txt" || fail "demo --once"
python3 "$here/transcript.py" "$root/README.md" "$work/once.txt" $write || fail transcript

# Commands find the demo's store by BURSAR_STORE, as an operator's would find theirs by their configuration.
serve "webhooks in" "$work/demo.log" "$bin" demo --data-dir "$work/demo" --listen 127.0.0.1:0 \
  --metrics-listen 127.0.0.1:0 --sandbox-listen 127.0.0.1:0
for _ in $(seq 1 600); do
  grep -q 'steps are as they should be' "$work/demo.log" && break
  kill -0 "${started[-1]}" 2>/dev/null || break
  sleep 0.1
done
timeout "$((PART_SECONDS_MAX * 2))" python3 "$here/blocks.py" "$root" "$bin" "$work" || fail "commands"
exit "$failed"
