#!/bin/sh
# Lets the official Stripe CLI trigger events on a running sandbox and looks whether they happened.
#   triggers.sh STRIPE_BINARY BASE_URL
set -eu
stripe=$1 base=$2
events() { curl -sf "$base/control/events" | grep -c "\"type\": \"$1\"" || true; }
ok=0 failed=0
for event in customer.created customer.updated customer.deleted checkout.session.completed checkout.session.expired \
  checkout.session.async_payment_succeeded checkout.session.async_payment_failed \
  customer.subscription.created customer.subscription.updated customer.subscription.deleted customer.subscription.paused \
  customer.subscription.trial_will_end invoice.created invoice.finalized invoice.paid invoice.payment_succeeded \
  invoice.payment_failed invoice.payment_action_required invoice.voided invoice.marked_uncollectible invoice.updated \
  payment_intent.created payment_intent.succeeded payment_intent.payment_failed payment_intent.canceled \
  payment_intent.requires_action payment_intent.processing payment_intent.amount_capturable_updated \
  charge.succeeded charge.failed charge.captured charge.refunded charge.refund.updated \
  charge.dispute.created charge.dispute.updated charge.dispute.closed payment_method.attached payment_link.created \
  price.created product.created payout.created account.updated; do
  before=$(events "$event")
  if ! said=$(timeout 60 "$stripe" --api-key sk_test_outside_cli0 trigger "$event" --api-base "$base" 2>&1); then
    echo "FAILED: stripe trigger $event: $said"
    failed=$((failed + 1))
    continue
  fi
  case $event in *async_payment*) curl -sf -X POST "$base/control/clock/advance?seconds=86400" >/dev/null ;; esac
  if [ "$(events "$event")" -gt "$before" ]; then
    ok=$((ok + 1))
  else
    echo "FAILED: stripe trigger $event made no such event"
    failed=$((failed + 1))
  fi
done
echo "ran $("$stripe" version 2>/dev/null | head -n 1): triggers=$ok failed=$failed"
[ "$failed" -eq 0 ]
