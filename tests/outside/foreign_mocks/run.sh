#!/usr/bin/env bash
# Bursar against doubles of Stripe that nobody here wrote:
#   localstripe 1.15.10 (PyPI) makes the objects, signs and sends its events in shapes of 2017; Bursar's rows have to
#   be right, and its reads go to localstripe's API;
#   stripe-stateful-mock 0.0.16 (npm) answers the calls of our own client (tests/foreign).
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar; the second part builds its own
# Both doubles listen on every address of this machine while they run, and localstripe leaves /tmp/localstripe.pickle. One line per part, `ran …` or `skipped: …`;
# exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

LOCALSTRIPE=1.15.10
MOCK=0.0.16
STRIPE_PACKAGE=12.1.0

localstripe_part() {
  command -v python3 >/dev/null || { skip "localstripe" "python3 not found (apt-get install python3-venv)"; return; }
  [ -e "$dir/localstripe/installed" ] || { skip "localstripe" "not installed: $(tail -n 1 "$work/localstripe.install.log")"; return; }
  local port base metrics secret=whsec_outside_0123456789abcdefghij admin=outside-operator-key-0123456789abcdef
  port=$(free_port) && base=http://127.0.0.1:$port
  double "$base" "$work/localstripe.log" "$dir/localstripe/bin/localstripe" --port "$port" --from-scratch ||
    { fail "localstripe"; stop; return; }
  cat >"$work/plans.toml" <<'PLANS'
[[plan]]
id = "pro"
name = "Pro"
stripe_price_id = "pro-monthly"
[plan.subscription]
features = ["reports"]
PLANS
  serve "webhooks in" "$work/bursar.log" env -i PATH="$PATH" BURSAR_LISTEN=127.0.0.1:0 BURSAR_METRICS_LISTEN=127.0.0.1:0 \
    BURSAR_STORE="sled:$work/data" BURSAR_ADMIN_KEY="$admin" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
    BURSAR_PLANS_FILE="$work/plans.toml" APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_outside_bursar \
    STRIPE_API_BASE="$base" STRIPE_WEBHOOK_SECRET="$secret" "$bin" serve
  metrics=$(sed -nE 's|.*metrics +(http://127\.0\.0\.1:[0-9]+)/metrics.*|\1|p' "$work/bursar.log" | head -n 1)
  timeout 120 "$dir/localstripe/bin/python" "$here/localstripe.py" "$base" "$address" "$metrics" "$secret" "$admin" "$LOCALSTRIPE" ||
    { fail "localstripe"; tail -n 20 "$work/bursar.log.err"; }
  stop
}

mock_part() {
  command -v npm >/dev/null || { skip "stripe-stateful-mock" "npm not found (apt-get install npm)"; return; }
  [ -e "$dir/mock/installed" ] || { skip "stripe-stateful-mock" "not installed: $(tail -n 1 "$work/mock.install.log")"; return; }
  command -v cargo >/dev/null || { skip "stripe-stateful-mock" "cargo not found: its part is a test of the crate"; return; }
  local port base
  port=$(free_port) && base=http://127.0.0.1:$port
  double "$base" "$work/mock.log" env PORT="$port" LOG_LEVEL=silent node "$dir/mock/node_modules/stripe-stateful-mock/dist/cli.js" ||
    { fail "stripe-stateful-mock"; stop; return; }
  if (cd "$root" && BURSAR_FOREIGN_STRIPE=$base cargo test --locked --test foreign -- --nocapture) >"$work/foreign.log" 2>&1 &&
    grep -E '^ran ' "$work/foreign.log"; then :; else
    fail "stripe-stateful-mock"
    tail -n 40 "$work/foreign.log"
  fi
  stop
}

command -v python3 >/dev/null && begin install_python localstripe "localstripe==$LOCALSTRIPE" "stripe==$STRIPE_PACKAGE"
command -v npm >/dev/null && begin install_node mock "stripe-stateful-mock@$MOCK"
for pid in "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid"; done
installers=()

localstripe_part
mock_part
exit "$failed"
