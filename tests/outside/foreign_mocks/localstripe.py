"""Lets localstripe, which nobody here wrote, be Stripe for a running Bursar.

  localstripe.py LOCALSTRIPE_URL BURSAR_URL METRICS_URL WEBHOOK_SECRET OPERATOR_KEY

Objects are made with Stripe's own Python package. localstripe signs and sends its events in shapes of 2017-08-15,
and Bursar's rows have to be right. What localstripe makes and sends no event of (charges, refunds) is sent as it
stands in its API, in an event of that version. Prints the figures; exits 1 when a row is wrong or an event dead.
"""
import collections
import hashlib
import hmac
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

import stripe

STRIPE, BURSAR, METRICS, SECRET, OPERATOR = sys.argv[1:6]
SETTLE_SECONDS_MAX = 30
VERSION = "2017-08-15"
client = stripe.StripeClient("sk_test_outside_foreign", base_addresses={"api": STRIPE})
failures = []
right = 0
wrapped = 0


def call(url, fields=None, key=None, headers=None, body=None):
    if fields is not None:
        body = json.dumps(fields).encode()
    request = urllib.request.Request(url, data=body, method="GET" if body is None else "POST", headers=headers or {})
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if text.strip().startswith((b"{", b"[")) else text.decode()


def bursar(path, fields=None):
    try:
        return call(f"{BURSAR}{path}", fields, key=OPERATOR)
    except urllib.error.HTTPError as error:
        return {"status": error.code, **json.load(error)}


def stripe_raw(path):
    """An object as localstripe writes it, not as the package reads it."""
    return call(f"{STRIPE}{path}", key="sk_test_outside_foreign")


def hears(name, secret):
    call(f"{STRIPE}/_config/webhooks/{name}", {"url": f"{BURSAR}/webhook", "secret": secret})


def send(kind, thing):
    """The delivery localstripe does not make: its object, whole, in an event of its version."""
    global wrapped
    now = int(time.time())
    event = {"id": f"evt_wrapped{uuid.uuid4().hex}", "object": "event", "api_version": VERSION, "created": now,
             "livemode": False, "pending_webhooks": 1, "request": None, "type": kind, "data": {"object": thing}}
    body = json.dumps(event, indent=2, sort_keys=True).encode()
    mac = hmac.new(SECRET.encode(), b"%d.%s" % (now, body), hashlib.sha256).hexdigest()
    call(f"{BURSAR}/webhook", body=body, headers={"Stripe-Signature": f"t={now},v1={mac}"})
    wrapped += 1


def stored():
    page = bursar("/api/v1/webhook-events?limit=100")
    return {view["id"]: view for view in page["data"]}


def made():
    listed = stripe_raw("/v1/events?limit=100")
    return {event["id"]: event["type"] for event in listed["data"]}


def settled():
    """Waits until Bursar has decided every event localstripe made; how each ended."""
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        here = stored()
        open_ = [id_ for id_ in made() if here.get(id_, {"status": "missing"})["status"] in ("missing", "received", "parked")]
        open_ += [id_ for id_, view in here.items() if view["status"] == "received"]
        if not open_ or time.monotonic() > until:
            return here
        time.sleep(0.2)


def expect(path, **wanted):
    """Fields of one row; `a__b` is field b of a."""
    global right
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while True:
        row = bursar(path)
        found = {}
        for name in wanted:
            value = row
            for part in name.split("__"):
                value = value.get(part) if isinstance(value, dict) else None
            found[name] = value
        if found == wanted:
            right += 1
            return row
        if time.monotonic() > until:
            wrong = {name: found[name] for name in wanted if found[name] != wanted[name]}
            failures.append(f"{path}: {wrong}, expected {({name: wanted[name] for name in wrong})}")
            return row
        time.sleep(0.1)


def figure(series):
    page = call(f"{METRICS}/metrics")
    found = [line.rsplit(" ", 1)[1] for line in page.splitlines() if line.startswith(series + " ")]
    return float(found[0]) if found else 0.0


def card(number):
    return client.payment_methods.create(
        {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2039, "cvc": "123"}})


def seconds(text):
    return int(time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone) if text else None


def main():
    bursar("/api/v1/tenants", {"tenantId": "acme"})
    hears("bursar", SECRET)

    customer = client.customers.create({"email": "ada@acme.test", "name": "Ada", "metadata": {"tenant_id": "acme"}})
    good = card("4242424242424242")
    client.payment_methods.attach(good.id, {"customer": customer.id})
    client.customers.update(customer.id, {"invoice_settings": {"default_payment_method": good.id}})
    paid = client.payment_intents.create({"amount": 2000, "currency": "usd", "customer": customer.id,
                                          "payment_method": good.id, "confirm": True})
    bad = card("4000000000000341")
    client.payment_methods.attach(bad.id, {"customer": customer.id})
    declined = client.payment_intents.create({"amount": 700, "currency": "usd", "customer": customer.id,
                                              "payment_method": bad.id})
    try:
        client.payment_intents.confirm(declined.id)
        failures.append("localstripe took a card that declines")
    except stripe.CardError:
        pass
    client.products.create({"name": "Pro", "type": "service", "id": "prod_pro"})
    client.plans.create({"id": "pro-monthly", "product": "prod_pro", "amount": 1000, "currency": "usd", "interval": "month"})
    made_of = {"customer": customer.id, "items": [{"plan": "pro-monthly", "quantity": 3}], "metadata": {"tenant_id": "acme"}}
    subscription = client.subscriptions.create(made_of)
    settled()

    expect(f"/api/v1/customers/{customer.id}", email="ada@acme.test", name="Ada", tenantId="acme")
    expect(f"/api/v1/payments/{paid.id}", status="succeeded", amount=2000, currency="usd", tenantId="acme",
           stripeCustomerId=customer.id)
    expect(f"/api/v1/payments/{declined.id}", status="requires_payment_method", amount=700, failureCode="card_declined")
    ends = stripe_raw(f"/v1/subscriptions/{subscription.id}")["current_period_end"]
    row = expect(f"/api/v1/subscriptions/{subscription.id}", status="active", planId="pro", quantity=3, tenantId="acme",
                 license__state="active", cancelAtPeriodEnd=False)
    if seconds(row.get("currentPeriodEnd")) != ends:
        failures.append(f"the period ends at {row.get('currentPeriodEnd')}, not at {ends}")
    invoice = stripe_raw(f"/v1/invoices/{row['latestInvoiceId']}")
    expect(f"/api/v1/invoices/{invoice['id']}", status="paid", amountDue=3000, amountPaid=3000, overdue=False,
           subscriptionId=subscription.id, stripePaymentIntentId=invoice["payment_intent"])
    expect(f"/api/v1/payments/{invoice['payment_intent']}", status="succeeded", amount=3000, invoiceId=invoice["id"],
           subscriptionId=subscription.id)
    expect("/api/v1/tenants/acme", status="active", planId="pro", license__state="active",
           license__validUntil=row.get("currentPeriodEnd"), stripeCustomerId=customer.id)

    # No event tells of these: the charge before and after a refund, and the refund.
    charge = stripe_raw(f"/v1/payment_intents/{paid.id}")["charges"]["data"][0]["id"]
    send("charge.succeeded", stripe_raw(f"/v1/charges/{charge}"))
    refund = client.refunds.create({"payment_intent": paid.id, "amount": 500})
    send("charge.refunded", stripe_raw(f"/v1/charges/{charge}"))
    send("charge.refund.updated", stripe_raw(f"/v1/refunds/{refund.id}"))
    expect(f"/api/v1/payments/{paid.id}", amountCaptured=2000, amountRefunded=500, stripeChargeId=charge)
    expect(f"/api/v1/refunds/{refund.id}", status="succeeded", amount=500, currency="usd", paymentId=paid.id)

    client.subscriptions.cancel(subscription.id)
    settled()
    expect(f"/api/v1/subscriptions/{subscription.id}", status="canceled", license__state="revoked")
    expect("/api/v1/tenants/acme", status="canceled", license__state="revoked", license__features=[])

    # Signed with another secret: refused and not stored.
    before = len(stored())
    hears("forger", "whsec_of_somebody_else_0123456789")
    forged = 'bursar_webhook_requests_total{outcome="bad_signature"}'
    client.customers.create({"email": "eve@acme.test"})
    until = time.monotonic() + SETTLE_SECONDS_MAX
    while figure(forged) < 1 and time.monotonic() < until:
        time.sleep(0.1)
    here = settled()
    if figure(forged) != 1:
        failures.append(f"{figure(forged)} deliveries with a wrong secret were refused, expected 1")
    if len(here) > before + 1:
        failures.append(f"{len(here) - before} events were stored for one customer")

    events = made()
    for id_, kind in events.items():
        view = here.get(id_)
        # Nobody owns Eve: her event waits for a link, which is right.
        fine = ("applied", "ignored", "parked") if kind == "customer.created" else ("applied", "ignored")
        if view is None or view["status"] not in fine:
            failures.append(f"{kind} {id_} is {view and (view['status'], view['reason'])} in Bursar")
    counts = collections.Counter(view["status"] for view in here.values())
    for view in here.values():
        if view["status"] == "dead":
            failures.append(f"{view['type']} {view['id']} is dead: {view['reason']}")
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"ran localstripe {sys.argv[6] if len(sys.argv) > 6 else '?'}: events={len(events)} wrapped={wrapped} "
          f"applied={counts['applied']} ignored={counts['ignored']} parked={counts['parked']} dead={counts['dead']} "
          f"forged_refused={int(figure(forged))} rows_right={right} failed={len(failures)}")
    sys.exit(1 if failures else 0)


main()
