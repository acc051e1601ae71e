#!/bin/sh
# Proves the sandbox by clients nobody here wrote: Stripe's packages for Python (12.1.0, which knows
# basil, and the newest) and Node, and the official Stripe CLI. Installs them by name into a temporary
# folder (BURSAR_OUTSIDE_DIR keeps it). Prints a line per part; exits 1 when one fails. A tool that is
# missing, or a registry that is away, is a skip unless BURSAR_OUTSIDE_STRICT=1.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
made=
dir=${BURSAR_OUTSIDE_DIR:-}
if [ -z "$dir" ]; then
  dir=$(mktemp -d)
  made=$dir
fi
mkdir -p "$dir"
failed=0
skip() {
  echo "skipped: $1"
  [ "${BURSAR_OUTSIDE_STRICT:-0}" = 1 ] && failed=1
}
(cd "$root" && cargo build --quiet --locked -p bursar-sandbox --example serve) || exit 1
server=
base=
stop() {
  [ -n "$server" ] && kill "$server" 2>/dev/null
  server=
}
trap 'stop; [ -n "$made" ] && rm -rf "$made"' EXIT INT TERM
# Each part gets a sandbox of its own on a free port: some move the clock by months.
fresh() {
  stop
  : >"$dir/serve.log"
  "${CARGO_TARGET_DIR:-$root/target}/debug/examples/serve" 127.0.0.1:0 >"$dir/serve.log" 2>&1 &
  server=$!
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    base=$(head -n 1 "$dir/serve.log")
    [ -n "$base" ] && return 0
    sleep 0.25
  done
  echo "FAILED: the sandbox did not start"
  exit 1
}
python_part() {
  if [ ! -x "$dir/$1/bin/python" ] || ! "$dir/$1/bin/python" -c 'import stripe' 2>/dev/null; then
    python3 -m venv "$dir/$1" && "$dir/$1/bin/pip" install --quiet --disable-pip-version-check "$2" ||
      { skip "$2 could not be installed from PyPI"; return; }
  fi
  fresh
  "$dir/$1/bin/python" "$here/drive.py" "$base" || failed=1
}
if command -v python3 >/dev/null; then
  python_part python-basil stripe==12.1.0
  python_part python-newest stripe
else
  skip "python3 not found (apt-get install python3-venv)"
fi
if command -v npm >/dev/null; then
  if [ ! -d "$dir/node_modules/stripe" ] || [ ! -d "$dir/node_modules/@stripe/cli" ]; then
    echo '{"private":true}' >"$dir/package.json"
    (cd "$dir" && npm install --silent --no-audit --no-fund --ignore-scripts stripe @stripe/cli >/dev/null 2>&1)
  fi
  if [ -d "$dir/node_modules/stripe" ]; then
    fresh
    (cd "$dir" && node "$here/drive.mjs" "$base") || failed=1
  else
    skip "the stripe package could not be installed from npm"
  fi
  cli=$(find "$dir/node_modules/@stripe" -type f -path '*/bin/stripe' 2>/dev/null | head -n 1)
  if [ -n "$cli" ]; then
    fresh
    HOME=$dir XDG_CONFIG_HOME=$dir sh "$here/triggers.sh" "$cli" "$base" || failed=1
  else
    skip "the Stripe CLI could not be installed from npm"
  fi
else
  skip "npm not found (apt-get install npm)"
fi
exit "$failed"
