#!/usr/bin/env bash
# Uses the pages people see in Chromium: the sandbox's checkout, bank, portal and overview, and Bursar's own.
# Without scripts and by keyboard alone a visitor is declined, pays, is asked by the bank and cancels, and
# Bursar is asked what came of it; then axe-core looks at every page, light and dark, wide and narrow. The same for the
# console: a plan sold, seen and refunded, dead letters replayed, a secret rotated. Last, the README's six clicks, in what
# its one command serves.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
#   BURSAR_WITH_BUGS    one of `cargo build --features mutants`, which can be made to have a defect
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
[ -x "${BURSAR_WITH_BUGS:-}" ] ||
  { skip pages "no binary with bugs (BURSAR_WITH_BUGS: a copy of what cargo build --features mutants makes)"; exit "$failed"; }
BURSAR_WITH_BUGS=$(realpath "$BURSAR_WITH_BUGS")
command -v npm >/dev/null || { skip pages "npm not found (apt-get install npm)"; exit "$failed"; }
install_node pages playwright-core@1.65.1 axe-core@4.14.1 >"$work/install.log" 2>&1 ||
  { skip pages "not installed: $(tail -n 1 "$work/install.log")"; exit "$failed"; }

serve "Stripe API" "$work/sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans
sandbox=$address
price() { awk -v plan="$1" '$1 == "price" && $2 == plan { print $3 }' "$work/sandbox.log"; }
secret=whsec_outside_0123456789abcdefghij operator=outside-operator-key-0123456789abcdef
# The console takes forms from its own address alone, so that has to be known before.
listen=127.0.0.1:$(free_port)
bursar() { # binary, more of its environment
  local of=$1
  shift
  serve "webhooks in" "$work/bursar.log" env -i PATH="$PATH" BURSAR_LISTEN="$listen" BURSAR_METRICS_LISTEN=127.0.0.1:0 \
    BURSAR_STORE="sled:$work/data" BURSAR_ADMIN_KEY="$operator" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
    APP_BASE_URL="http://$listen" STRIPE_API_KEY=sk_test_outside_pages STRIPE_API_BASE="$sandbox" \
    STRIPE_WEBHOOK_SECRET="$secret" PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID="$(price pro)" \
    PAYMENTS_CREDITS_10_PLAN_ID="$(price credits-10)" "$@" "$of" serve
}
curl -sf -X POST "$sandbox/control/webhook" -d "{\"url\":\"http://$listen/webhook\",\"secrets\":\"$secret\"}" >/dev/null ||
  { fail "the sandbox takes no webhook address"; exit 1; }
SHOTS=${BURSAR_SHOTS_DIR:-}
[ -z "$SHOTS" ] || { mkdir -p "$SHOTS" && SHOTS=$(cd "$SHOTS" && pwd); }
export CHROMIUM SANDBOX=$sandbox BURSAR=http://$listen OPERATOR=$operator PRO=$(price pro) CREDITS=$(price credits-10) SHOTS
export SECRET=$secret MAILS=$work/data/mail
cd "$dir/pages" || exit 1
part() { timeout 240 node "$here/$1.mjs" || { fail "pages: $1"; tail -n 20 "$work/$2.log.err"; }; }

# First a version with a defect, which makes dead letters of a payment; then, on its data, the one that has it no more.
bursar "$BURSAR_WITH_BUGS" SEEDED_BUG=M13
part defect bursar
if ! kill "${started[-1]}" || ! wait "${started[-1]}"; then fail "the version with the defect does not stop as asked"; fi
unset 'started[-1]'
bursar "$bin"
for one in console drive; do part "$one" bursar; done
stop

serve "console " "$work/demo.log" env -i PATH="$PATH" TMPDIR="$work" "$bin" demo --listen "127.0.0.1:$(free_port)" \
  --metrics-listen 127.0.0.1:0 --sandbox-listen "127.0.0.1:$(free_port)"
SANDBOX=$(sed -nE 's|^ +sandbox +(http://[^ ]+).*|\1|p' "$work/demo.log")
export BURSAR=$address SANDBOX DEMO_LOG=$work/demo.log
part newcomer demo
exit "$failed"
