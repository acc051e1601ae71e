#!/usr/bin/env bash
# Made the stores in this folder: one per released format of the store, never changed afterwards.
#   make.sh BINARY VERSION
# The store holds one kind of everything that is written: events of a life (applied, parked, dead, dismissed, duplicate),
# orders, keys, an invitation, an endpoint, a debit, an erased tenant.
set -euo pipefail
cd "$(dirname "$0")"
bin=$1 version=$2
work=$(mktemp -d)
trap 'kill $pid 2>/dev/null; rm -rf "$work"' EXIT
export BURSAR_STORE=sled:$work/data BURSAR_PLANS_FILE=$PWD/plans.toml BURSAR_LISTEN=127.0.0.1:0 BURSAR_METRICS_LISTEN=127.0.0.1:0 \
  BURSAR_ADMIN_KEY=stores-operator-key-0123456789abcdef BURSAR_JWT_SECRET=stores-token-secret-0123456789abcdef \
  APP_BASE_URL=http://127.0.0.1:8087 STRIPE_API_KEY=sk_test_stores_0123456789 STRIPE_API_BASE=http://127.0.0.1:9 \
  STRIPE_WEBHOOK_SECRET=whsec_stores_0123456789abcdefgh RECONCILE_INTERVAL=0 BURSAR_LOG=off
"$bin" serve >"$work/log" &
pid=$!
for _ in $(seq 100); do grep -q 'mode' "$work/log" && break; sleep 0.1; done
url=$(sed -nE 's|.*webhooks in +(http://[^/]+)/webhook|\1|p' "$work/log")
post() { curl -sS --fail-with-body -o /dev/null -X POST -H "Authorization: Bearer $BURSAR_ADMIN_KEY" -H 'Content-Type: application/json' -d "$2" "$url$1"; }
post /api/v1/tenants '{"tenantId":"acme","name":"Acme Inc","email":"owner@acme.test"}'
post /api/v1/tenants '{"tenantId":"gone","name":"Gone Ltd","email":"owner@gone.test"}'
for event in checkout.session.completed customer.created customer.subscription.created invoice.created invoice.paid \
  payment_intent.succeeded charge.succeeded charge.refunded.partial refund.created charge.dispute.created payout.paid \
  customer.subscription.updated.renewal invoice.payment_succeeded.renewal account.updated; do
  "$bin" trigger "$event" --to "$url/webhook" --tenant acme >/dev/null
done
"$bin" trigger checkout.session.completed.payment --to "$url/webhook" --tenant acme >/dev/null
"$bin" trigger checkout.session.completed.payment_link_guest --to "$url/webhook" >/dev/null
post /api/v1/service-keys '{"name":"backend","scopes":["tenants:read"]}'
post /api/v1/users '{"email":"ada@acme.test","tenantId":"acme","role":"admin"}'
post /api/v1/notification-endpoints '{"url":"https://app.example.com/notifications"}'
post /api/v1/tenants/gone/erase '{}'
sleep 2
"$bin" events dismiss --status parked --reason "of another account" --yes >/dev/null
kill $pid && wait $pid || true
"$bin" backup "$work/$version.backup" >/dev/null
cp "$work/$version.backup" .
"$bin" verify --json >"$version.json"
cat "$version.json"
ls -l "$version.backup"
