"""Lets the official Stripe CLI trigger events on a sandbox that reports them, signed, to a Bursar.

  triggers.py STRIPE_BINARY SANDBOX_URL BURSAR_URL WEBHOOK_SECRET OPERATOR_KEY

For each trigger: the CLI exits 0 and the sandbox made an event of that type. At the end: Bursar holds every
event the sandbox made, each applied, ignored or parked, none dead. Exits 1 when one of these does not hold.
"""
import collections
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

STRIPE, SANDBOX, BURSAR, SECRET, OPERATOR = sys.argv[1:6]
CLI_SECONDS_MAX = 30
SETTLE_SECONDS_MAX = 30

TRIGGERS = """
customer.created customer.updated customer.deleted
checkout.session.completed checkout.session.expired
customer.subscription.created customer.subscription.updated customer.subscription.deleted
customer.subscription.paused customer.subscription.trial_will_end
invoice.created invoice.finalized invoice.paid invoice.payment_succeeded invoice.payment_failed
invoice.payment_action_required invoice.voided invoice.marked_uncollectible invoice.updated
payment_intent.created payment_intent.succeeded payment_intent.payment_failed payment_intent.canceled
payment_intent.requires_action payment_intent.processing payment_intent.amount_capturable_updated
charge.succeeded charge.failed charge.captured charge.refunded charge.refund.updated
charge.dispute.created charge.dispute.updated charge.dispute.closed
payment_method.attached payment_link.created price.created product.created payout.created account.updated
""".split()
# A bank debit is settled a day later: the sandbox's clock has to move, so these come last.
BANK_TRIGGERS = ["checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed"]
FINE = {"applied", "ignored", "parked"}


def call(url, fields=None, key=None):
    data = None if fields is None else json.dumps(fields).encode()
    request = urllib.request.Request(url, data=data, method="GET" if data is None else "POST")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def made():
    """Events of the sandbox so far: id -> type."""
    events = call(f"{SANDBOX}/control/events")
    events = events if isinstance(events, list) else next(v for v in events.values() if isinstance(v, list))
    return {e["id"]: e["type"] for e in events}


def stored():
    """Deliveries Bursar holds: event id -> status."""
    found, cursor = {}, ""
    while True:
        page = call(f"{BURSAR}/api/v1/webhook-events?limit=100{cursor}", key=OPERATOR)
        for view in page["data"]:
            found[view["id"]] = view["status"]
        if not page.get("nextCursor"):
            return found
        cursor = f"&cursor={page['nextCursor']}"


def wait_until_ready():
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        try:
            return call(f"{BURSAR}/readyz")
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > until:
                sys.exit(f"FAILED: Bursar is not ready: {error}")
            time.sleep(0.1)


def trigger(event, settle=lambda: None):
    """One `stripe trigger`; the reason when it failed."""
    before = set(made())
    ran = subprocess.run([STRIPE, "--api-key", "sk_test_outside_cli0", "trigger", event, "--api-base", SANDBOX],
                         capture_output=True, text=True, timeout=CLI_SECONDS_MAX, stdin=subprocess.DEVNULL)
    if ran.returncode != 0:
        return f"exit {ran.returncode}: {(ran.stdout + ran.stderr).strip()[-600:]}"
    settle()
    fresh = [kind for id_, kind in made().items() if id_ not in before]
    return None if event in fresh else f"no such event, only {sorted(set(fresh))}"


def settled(events):
    """Waits until Bursar has decided all of them; what it says in the end."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        states = stored()
        if all(states.get(id_) not in (None, "received") for id_ in events) or time.monotonic() > until:
            return states
        time.sleep(0.2)


def main():
    wait_until_ready()
    call(f"{SANDBOX}/control/webhook", {"url": f"{BURSAR}/webhook", "secrets": SECRET})
    # The catalogue the sandbox begins with was there before anybody listened.
    earlier = set(made())
    failures = []
    for event in TRIGGERS:
        reason = trigger(event)
        if reason:
            failures.append(f"stripe trigger {event}: {reason}")
    events = {id_: kind for id_, kind in made().items() if id_ not in earlier}
    states = settled(events)
    for id_, kind in events.items():
        if states.get(id_) not in FINE:
            failures.append(f"{kind} {id_} is {states.get(id_, 'not stored')} in Bursar")
    # From here on the sandbox lives in the future, where a signature of today is worth nothing.
    call(f"{SANDBOX}/control/webhook", {"url": "", "secrets": ""})
    for event in BANK_TRIGGERS:
        reason = trigger(event, settle=lambda: call(f"{SANDBOX}/control/clock/advance", {"seconds": 86_400}))
        if reason:
            failures.append(f"stripe trigger {event}: {reason}")
    for failure in failures:
        print(f"FAILED: {failure}")
    counts = collections.Counter(states.get(id_, "missing") for id_ in events)
    version = subprocess.run([STRIPE, "version"], capture_output=True, text=True, timeout=CLI_SECONDS_MAX).stdout.split()
    said = " ".join(f"{word}={counts[word]}" for word in ("applied", "ignored", "parked", "received", "missing"))
    print(f"ran stripe cli {version[2] if len(version) > 2 else '?'}: triggers={len(TRIGGERS) + len(BANK_TRIGGERS)} "
          f"failed={len(failures)} dead={counts['dead']} events={len(events)} {said}")
    sys.exit(1 if failures else 0)


main()
