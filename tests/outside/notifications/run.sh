#!/usr/bin/env bash
# Proves notifications by verifiers nobody here wrote: the official Standard Webhooks packages of PyPI and npm
# verify every one of a busy hour, also while a secret is replaced, and refuse what was altered; and the two
# applications of examples/ sell a plan, hear of it and open their feature, beside a service and beside `bursar demo`.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# Packages are installed by name into a temporary folder (BURSAR_OUTSIDE_DIR keeps it for the next run).
# Exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

for tool in python3 npm node; do
  command -v "$tool" >/dev/null || { skip "notifications" "$tool not found"; exit "$failed"; }
done
begin install_python standardwebhooks-py standardwebhooks
begin install_node standardwebhooks-js standardwebhooks
for pid in "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid"; done
installers=()
for part in standardwebhooks-py standardwebhooks-js; do
  [ -e "$dir/$part/installed" ] || { skip "$part" "not installed: $(tail -n 1 "$work/$part.install.log")"; exit "$failed"; }
done

serve "Stripe API" "$work/sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans
sandbox=$address
price() { sed -nE "s/.*price +$1 +(price_[A-Za-z0-9]+).*/\1/p" "$work/sandbox.log"; }
cat >"$work/plans.toml" <<PLANS
[[plan]]
id = "hobby"
name = "Hobby"
stripe_price_id = "$(price hobby)"
[plan.subscription]
features = ["reports"]
PLANS
secret=whsec_outside_0123456789abcdefghij admin=outside-operator-key-0123456789abcdef
serve "webhooks in" "$work/bursar.log" env -i PATH="$PATH" BURSAR_LISTEN=127.0.0.1:0 BURSAR_METRICS_LISTEN=127.0.0.1:0 \
  BURSAR_STORE="sled:$work/data" BURSAR_ADMIN_KEY="$admin" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
  BURSAR_OUTBOUND_ALLOW_PRIVATE=true BURSAR_PLANS_FILE="$work/plans.toml" CHECKOUT_AUTOMATIC_TAX=false \
  APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_outside_bursar STRIPE_API_BASE="$sandbox" \
  STRIPE_WEBHOOK_SECRET="$secret" "$bin" serve
# node finds the package beside the program, wherever that was copied to.
cp "$root/examples/node/app.mjs" "$here/verify.mjs" "$dir/standardwebhooks-js/"
timeout "$((PART_SECONDS_MAX * 2))" "$dir/standardwebhooks-py/bin/python" "$here/drive.py" \
  "$sandbox" "$address" "$secret" "$admin" "$root/examples/python/app.py" "$dir/standardwebhooks-js" "$work" ||
  { fail "notifications"; tail -n 20 "$work/bursar.log.err"; }
stop

# The same two applications against the newcomer's first minute, once its story is told.
demo_part() {
  serve "webhooks in" "$work/demo.log" "$bin" demo --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --sandbox-listen 127.0.0.1:0
  local bursar=$address stripe key
  for _ in $(seq 1 600); do
    grep -q "It stays up" "$work/demo.log" && break
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.1
  done
  stripe=$(sed -nE 's|.*sandbox +(http://127\.0\.0\.1:[0-9]+).*|\1|p' "$work/demo.log" | head -n 1)
  key=$(sed -nE 's|.*operator key +([^ ]+) .*|\1|p' "$work/demo.log" | head -n 1)
  timeout "$PART_SECONDS_MAX" "$dir/standardwebhooks-py/bin/python" "$here/drive.py" \
    "$stripe" "$bursar" demo "$key" "$root/examples/python/app.py" "$dir/standardwebhooks-js" "$work" ||
    { fail "examples at the demo"; tail -n 30 "$work/demo.log" "$work/demo.log.err"; }
  stop
}
demo_part
exit "$failed"
