#!/usr/bin/env bash
# Proves sandbox and intake by clients nobody here wrote: Stripe's own packages for Python (12.1.0, which
# knows basil, and the newest) and Node (18.1.1 and the newest), and the official Stripe CLI, whose triggered
# events go, signed, into a Bursar.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run). One
# line per part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
bin=${1:-}
for candidate in "${CARGO_TARGET_DIR:-$root/target}/debug/bursar" "${CARGO_TARGET_DIR:-$root/target}/release/bursar"; do
  [ -z "$bin" ] && [ -x "$candidate" ] && bin=$candidate
done
[ -x "${bin:-}" ] || { echo "FAILED: no binary at '${bin:-target/debug/bursar}' (cargo build)"; exit 1; }
bin=$(cd "$(dirname "$bin")" && pwd)/$(basename "$bin")

# Seconds one part may take, and one installation.
PART_SECONDS_MAX=60
INSTALL_SECONDS_MAX=150
export STRIPE_CLI_TELEMETRY_OPTOUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
unset STRIPE_API_KEY STRIPE_WEBHOOK_SECRET

dir=${BURSAR_OUTSIDE_DIR:-}
made=
[ -n "$dir" ] || { dir=$(mktemp -d) && made=$dir; }
mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
work=$(mktemp -d)
failed=0
started=()
installers=()
stop() {
  for pid in "${started[@]:-}" "${installers[@]:-}"; do [ -n "$pid" ] && kill "$pid" 2>/dev/null; done
  for pid in "${started[@]:-}" "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid" 2>/dev/null; done
  started=()
  installers=()
}
finish() { stop; rm -rf "$work"; [ -z "$made" ] || rm -rf "$made"; }
trap finish EXIT
trap 'exit 130' INT TERM

fail() { echo "FAILED: $1"; failed=1; }
skip() { # part, reason
  echo "skipped: $1 ($2)"
  [ "${CI:-}" = true ] && failed=1
  return 0
}

# Starts `bursar …` in the background and waits until its banner names an address: address PATTERN LOG ARGS…
serve() {
  local pattern=$1 log=$2
  shift 2
  : >"$log"
  "$@" >"$log" 2>"$log.err" &
  started+=($!)
  for _ in $(seq 1 200); do
    address=$(sed -nE "s|.*$pattern.*(http://127\.0\.0\.1:[0-9]+).*|\1|p" "$log" | head -n 1)
    [ -n "$address" ] && return 0
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  echo "FAILED: $* did not start:"
  cat "$log" "$log.err"
  exit 1
}
# A sandbox of its own for each part: some move the clock by months.
sandbox() { serve "Stripe API" "$work/$1.sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans; base=$address; }

# Installations run side by side; each leaves DIR/PART/installed when it is whole.
install_python() { # part, requirement
  [ -e "$dir/$1/installed" ] && return 0
  rm -rf "${dir:?}/$1"
  python3 -m venv "$dir/$1" && timeout "$INSTALL_SECONDS_MAX" "$dir/$1/bin/pip" install --quiet "$2" && touch "$dir/$1/installed"
}
install_node() { # part, package
  [ -e "$dir/$1/installed" ] && return 0
  rm -rf "${dir:?}/$1" && mkdir -p "$dir/$1" && echo '{"private":true}' >"$dir/$1/package.json" &&
    (cd "$dir/$1" && timeout "$INSTALL_SECONDS_MAX" npm install --silent --ignore-scripts "$2") && touch "$dir/$1/installed"
}
begin() { "$@" >"$work/$2.install.log" 2>&1 & installers+=($!); }

python_part() { # part, requirement
  command -v python3 >/dev/null || { skip "$2" "python3 not found (apt-get install python3-venv)"; return; }
  [ -e "$dir/$1/installed" ] || { skip "python $2" "not installed: $(tail -n 1 "$work/$1.install.log")"; return; }
  sandbox "$1"
  timeout "$PART_SECONDS_MAX" "$dir/$1/bin/python" "$here/drive.py" "$base" || fail "python $2"
  stop
}
node_part() { # part, package
  command -v npm >/dev/null || { skip "$2" "npm not found (apt-get install npm)"; return; }
  [ -e "$dir/$1/installed" ] || { skip "node $2" "not installed: $(tail -n 1 "$work/$1.install.log")"; return; }
  sandbox "$1"
  (cd "$dir/$1" && timeout "$PART_SECONDS_MAX" node "$here/drive.mjs" "$base") || fail "node $2"
  stop
}
cli_part() {
  command -v npm >/dev/null || { skip "@stripe/cli" "npm not found (apt-get install npm)"; return; }
  [ -e "$dir/cli/installed" ] || { skip "@stripe/cli" "not installed: $(tail -n 1 "$work/cli.install.log")"; return; }
  local cli
  cli=$(find "$dir/cli/node_modules/@stripe" -type f -path '*/bin/stripe' 2>/dev/null | head -n 1)
  [ -n "$cli" ] || { skip "@stripe/cli" "it has no binary for this machine"; return; }
  sandbox cli
  local secret=whsec_outside_0123456789abcdefghij admin=outside-operator-key-0123456789abcdef
  serve "webhooks in" "$work/cli.bursar.log" env -i PATH="$PATH" BURSAR_LISTEN=127.0.0.1:0 BURSAR_METRICS_LISTEN=127.0.0.1:0 \
    BURSAR_STORE="sled:$work/cli.data" BURSAR_ADMIN_KEY="$admin" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
    APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_outside_bursar STRIPE_API_BASE="$base" \
    STRIPE_WEBHOOK_SECRET="$secret" "$bin" serve
  HOME=$work XDG_CONFIG_HOME=$work timeout 120 python3 "$here/triggers.py" "$cli" "$base" "$address" "$secret" "$admin" ||
    { fail "@stripe/cli"; tail -n 20 "$work/cli.bursar.log.err"; }
  stop
}

if command -v python3 >/dev/null; then
  begin install_python python-basil stripe==12.1.0
  begin install_python python-newest stripe
fi
if command -v npm >/dev/null; then
  begin install_node node-basil stripe@18.1.1
  begin install_node node-newest stripe
  begin install_node cli @stripe/cli
fi
for pid in "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid"; done
installers=()

python_part python-basil stripe==12.1.0
python_part python-newest stripe
node_part node-basil stripe@18.1.1
node_part node-newest stripe
cli_part
exit "$failed"
