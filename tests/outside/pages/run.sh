#!/usr/bin/env bash
# Uses the pages people see in Chromium: the sandbox's checkout, bank, portal and overview, and Bursar's own.
# Without scripts and by keyboard alone a visitor is declined, pays, is asked by the bank and cancels, and
# Bursar is asked what came of it; then axe-core looks at every page, light and dark, wide and narrow. The same for the
# console: a plan sold, seen and refunded, a dead letter replayed, a secret rotated.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
#   BURSAR_SHOTS_DIR    a folder: every page is kept there as a picture, in light and dark
# Needs chromium (CHROMIUM names another one) and npm. One line, `ran …` or `skipped: …`; exits 1 when something
# fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

for candidate in chromium chromium-browser google-chrome; do
  [ -n "${CHROMIUM:-}" ] || CHROMIUM=$(command -v "$candidate")
done
[ -x "${CHROMIUM:-}" ] || { skip pages "chromium not found (apt-get install chromium)"; exit "$failed"; }
command -v npm >/dev/null || { skip pages "npm not found (apt-get install npm)"; exit "$failed"; }
install_node pages playwright-core@1.65.1 axe-core@4.14.1 >"$work/install.log" 2>&1 ||
  { skip pages "not installed: $(tail -n 1 "$work/install.log")"; exit "$failed"; }

serve "Stripe API" "$work/sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans
sandbox=$address
price() { awk -v plan="$1" '$1 == "price" && $2 == plan { print $3 }' "$work/sandbox.log"; }
secret=whsec_outside_0123456789abcdefghij operator=outside-operator-key-0123456789abcdef
# The console takes forms from its own address alone, so that has to be known before.
listen=127.0.0.1:$(free_port)
serve "webhooks in" "$work/bursar.log" env -i PATH="$PATH" BURSAR_LISTEN="$listen" BURSAR_METRICS_LISTEN=127.0.0.1:0 \
  BURSAR_STORE="sled:$work/data" BURSAR_ADMIN_KEY="$operator" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
  APP_BASE_URL="http://$listen" STRIPE_API_KEY=sk_test_outside_pages STRIPE_API_BASE="$sandbox" \
  STRIPE_WEBHOOK_SECRET="$secret" PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID="$(price pro)" \
  PAYMENTS_CREDITS_10_PLAN_ID="$(price credits-10)" "$bin" serve
curl -sf -X POST "$sandbox/control/webhook" -d "{\"url\":\"$address/webhook\",\"secrets\":\"$secret\"}" >/dev/null ||
  { fail "the sandbox takes no webhook address"; exit 1; }
SHOTS=${BURSAR_SHOTS_DIR:-}
[ -z "$SHOTS" ] || { mkdir -p "$SHOTS" && SHOTS=$(cd "$SHOTS" && pwd); }
export CHROMIUM SANDBOX=$sandbox BURSAR=$address OPERATOR=$operator PRO=$(price pro) CREDITS=$(price credits-10) SHOTS
export SECRET=$secret MAILS=$work/data/mail
cd "$dir/pages" || exit 1
for part in console drive; do
  timeout 240 node "$here/$part.mjs" || { fail "pages: $part"; tail -n 20 "$work/bursar.log.err"; }
done
exit "$failed"
