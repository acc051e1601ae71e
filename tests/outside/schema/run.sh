#!/usr/bin/env bash
# Lets schemathesis (PyPI) make requests from the OpenAPI document of a running Bursar, right ones and wrong ones, and
# hold every answer against the document: `schemathesis operations=… cases=… failures=0`.
#   run.sh [BINARY]     default: target/debug/bursar, then target/release/bursar
# BURSAR_SCHEMA_EXAMPLES: random requests of each operation (3). Exits 1 when a part fails. With CI=true a skip is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../begin.sh
. "$here/../begin.sh"

command -v python3 >/dev/null || { skip "schemathesis" "python3 not found"; exit "$failed"; }
begin install_python schemathesis "schemathesis==4.32.5"
for pid in "${installers[@]:-}"; do [ -n "$pid" ] && wait "$pid"; done
installers=()
[ -e "$dir/schemathesis/installed" ] || { skip "schemathesis" "not installed: $(tail -n 1 "$work/schemathesis.install.log")"; exit "$failed"; }

serve "Stripe API" "$work/sandbox.log" "$bin" sandbox --listen 127.0.0.1:0 --with-plans
sandbox=$address
admin=outside-operator-key-0123456789abcdef
serve "webhooks in" "$work/bursar.log" env -i PATH="$PATH" BURSAR_LISTEN=127.0.0.1:0 BURSAR_METRICS_LISTEN=127.0.0.1:0 \
  BURSAR_STORE="sled:$work/data" BURSAR_ADMIN_KEY="$admin" BURSAR_JWT_SECRET=outside-token-secret-0123456789abcdef \
  APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_outside_bursar STRIPE_API_BASE="$sandbox" \
  STRIPE_WEBHOOK_SECRET=whsec_outside_0123456789abcdefghij "$bin" serve
# Left out, by name: `positive_data_acceptance` takes every request of the right shape for a good one, but a document
# cannot say which payments exist, that two credentials must not differ, or that a field given twice must agree.
# One worker: two of them, in threads, make Python 3.11's parser fail now and then ("AST constructor recursion depth").
cd "$work" && timeout 1800 "$dir/schemathesis/bin/st" --config-file "$here/schemathesis.toml" run "$address/openapi.json" \
  -H "Authorization: Bearer $admin" --phases examples,coverage,fuzzing --exclude-checks positive_data_acceptance \
  --max-examples "${BURSAR_SCHEMA_EXAMPLES:-3}" --continue-on-failure --no-shrink --request-timeout 40 --workers 1 \
  --warnings off --report json --report-json-path "$work/report.json" >"$work/schema.log" 2>&1
ended=$?
operations=$(sed -nE 's/^ +Operations: +([0-9]+) selected.*/\1/p' "$work/schema.log")
cases=$(sed -nE 's/^ +([0-9]+) generated.*/\1/p' "$work/schema.log")
found=$(sed -nE 's/.* ([0-9]+) unique failures?.*/\1/p' "$work/schema.log")
echo "schemathesis operations=${operations:-0} cases=${cases:-0} failures=${found:-0}"
if [ "$ended" -ne 0 ] || [ "${cases:-0}" -lt 500 ]; then
  cat "$work/schema.log"
  fail "schemathesis"
fi
stop
exit "$failed"
