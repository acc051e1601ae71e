#!/usr/bin/env bash
# Proves sandbox and intake by clients nobody here wrote: Stripe's own packages for Python (12.1.0, which
# knows basil, and the newest) and Node (18.1.1 and the newest), and the official Stripe CLI, whose triggered
# events go, signed, into a Bursar.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run). One
# line per part, `ran …` or `skipped: …`; exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

# A sandbox of its own for each part: some move the clock by months.
sandbox() { serve "Stripe API" "$work/$1.sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans; base=$address; }

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
