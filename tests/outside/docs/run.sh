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
# Two installations on one machine, as docs/deploy.md sets them up. (Both in test mode: a live key goes to Stripe alone.
# That a store refuses the other mode's key is in tests/formats.rs.)
two_installations() {
  local name heard=()
  for name in live test; do
    "$bin" init "$work/two/$name" >/dev/null || return 1
    sed -i 's|# api_key = .*|api_key = "sk_test_two_installations"|; s|# webhook_secrets = .*|webhook_secrets = ["whsec_two_'$name'_0123456789abcdef"]|' \
      "$work/two/$name/secrets.toml"
    STRIPE_API_BASE=http://127.0.0.1:9 RECONCILE_INTERVAL=0 BURSAR_LOG=off serve "webhooks in" "$work/$name.log" "$bin" serve \
      --config "$work/two/$name/bursar.toml" --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0
  done
  "$bin" trigger invoice.paid --to "$address/webhook" --config "$work/two/test/bursar.toml" >/dev/null || return 1
  for name in live test; do
    heard[${#heard[@]}]=$("$bin" events tail --once --json --config "$work/two/$name/bursar.toml" | grep -c invoice.paid)
  done
  [ "${heard[*]}" = "0 1" ] || { echo "heard: ${heard[*]}"; return 1; }
  # The other one's secret proves nothing here.
  "$bin" trigger invoice.paid --to "$address/webhook" --config "$work/two/live/bursar.toml" >/dev/null 2>&1 && return 1
  echo "ran two installations: heard_by_live=${heard[0]} heard_by_test=${heard[1]} foreign_secret=refused"
}
two_installations || fail "two installations"
timeout "$((PART_SECONDS_MAX * 2))" python3 "$here/blocks.py" "$root" "$bin" "$work" || fail "commands"
exit "$failed"
