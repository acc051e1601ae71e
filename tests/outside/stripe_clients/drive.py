"""Drives a running sandbox with Stripe's own Python package.

  python drive.py BASE_URL   (exits 1 on the first failed check; prints the figures)

Works with every release since 12.1.0: calls go through StripeClient, answers are read as mappings.
"""
import http.server
import json
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

import stripe

BASE = sys.argv[1]
KEY = "sk_test_outside_python"
client = stripe.StripeClient(KEY, base_addresses={"api": BASE, "files": BASE, "connect": BASE, "meter_events": BASE})
v1 = getattr(client, "v1", client)
checks = 0
failed = 0


def check(what, condition, seen=None):
    global checks, failed
    checks += 1
    if not condition:
        failed += 1
        print(f"FAILED: {what}: {seen!r}")


def part(run, *arguments):
    """Runs one part; an exception nobody expected is a failure and ends that part only."""
    global failed
    try:
        return run(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        failed += 1
        frame = traceback.extract_tb(error.__traceback__)[1]
        print(f"FAILED: {run.__name__}, line {frame.lineno}: {type(error).__name__}: {error}")
        return None


def refused(what, error, call, **attributes):
    try:
        call()
    except error as e:
        for name, value in attributes.items():
            check(f"{what}: {name}", getattr(e, name) == value, getattr(e, name))
        return e
    check(f"{what} is refused", False)
    return None


def control(path, **fields):
    data = json.dumps(fields).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{BASE}/control/{path}", data=data, method="POST")) as r:
        return json.load(r)


def raw(path):
    request = urllib.request.Request(f"{BASE}{path}", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as r:
        return json.load(r)


class Stay(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of going to a shop that is not there."""

    def redirect_request(self, *_):
        return None


def visit(url, **form):
    """Opens a page, or submits its form, as a browser would: status, where it leads, its text."""
    data = urllib.parse.urlencode(form).encode() if form else None
    try:
        with urllib.request.build_opener(Stay).open(urllib.request.Request(url, data=data)) as r:
            return r.status, None, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers.get("location"), e.read().decode()


class Hook:
    """An endpoint that keeps what the package's own verifier made of each delivery."""

    def __init__(self):
        self.secret, self.events, self.refused, self.last = None, [], [], None
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.last = body, self.headers["stripe-signature"]
                try:
                    hook.events.append(stripe.Webhook.construct_event(body, hook.last[1], hook.secret))
                except Exception as error:  # noqa: BLE001 - any refusal is one too many
                    hook.refused.append(f"{type(error).__name__}: {error}")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def heard(self, kind, **fields):
        """Waits for an event of this type whose object has these fields."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for event in list(self.events):
                if event["type"] == kind and all(event["data"]["object"][k] == v for k, v in fields.items()):
                    return event
            time.sleep(0.02)
        return None


def catalogue():
    product = v1.products.create({"name": "Pro"})
    price = v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"}})
    more = v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 5900, "recurring": {"interval": "month"}})
    once = v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 1000})
    check("a price expands its product", v1.prices.retrieve(price.id, {"expand": ["product"]}).product.name == "Pro")
    return price, more, once


def strictness(price):
    e = stripe.InvalidRequestError
    refused("unknown parameter", e, lambda: client.raw_request("post", "/v1/customers", emial="x"), code="parameter_unknown", http_status=400)
    refused("missing parameter", e, lambda: v1.payment_intents.create({"amount": 500}), code="parameter_missing", param="currency")
    refused("unknown id", e, lambda: v1.customers.retrieve("cus_nothing"), code="resource_missing", http_status=404)
    refused("both customer and e-mail", e, lambda: v1.checkout.sessions.create({
        "mode": "subscription", "success_url": "http://x/", "customer": "cus_1", "customer_email": "a@example.com",
        "line_items": [{"price": price.id, "quantity": 1}]}), http_status=400)
    other = stripe.StripeClient("sk_live_0123456789", base_addresses={"api": BASE, "files": BASE, "connect": BASE, "meter_events": BASE})
    refused("a live key", stripe.AuthenticationError, lambda: getattr(other, "v1", other).customers.list(), http_status=401)
    refused("a foreign account", stripe.PermissionError, lambda: v1.customers.list(options={"stripe_account": "acct_nobody"}), http_status=403)


def idempotency():
    key = f"key-{time.time()}"
    first = v1.customers.create({"email": "once@example.com"}, {"idempotency_key": key})
    again = v1.customers.create({"email": "once@example.com"}, {"idempotency_key": key})
    check("the same key answers the same customer", first.id == again.id)
    check("a replay says so", again.last_response.headers["Idempotent-Replayed"] == "true")
    refused("another request under the key", stripe.IdempotencyError,
            lambda: v1.customers.create({"email": "twice@example.com"}, {"idempotency_key": key}), http_status=400)
    event = [e for e in v1.events.list({"type": "customer.created"}).data if e.data.object["id"] == first.id][0]
    check("the event names the key", event["request"]["idempotency_key"] == key)


def subscription_by_checkout(price, more):
    session = v1.checkout.sessions.create({
        "mode": "subscription", "success_url": "http://shop.example/?s={CHECKOUT_SESSION_ID}", "cancel_url": "http://shop.example/",
        "line_items": [{"price": price.id, "quantity": 1}], "client_reference_id": "tenant_1",
        "subscription_data": {"metadata": {"tenant_id": "tenant_1"}}})
    check("the page loads without scripts", b"<script" not in urllib.request.urlopen(session.url).read())
    check("nothing exists before payment", session.subscription is None and session.invoice is None)
    declined = urllib.request.Request(session.url, data=urllib.parse.urlencode({"email": "ada@example.com", "card": "0002"}).encode())
    try:
        urllib.request.urlopen(declined)
        check("a declined card stays on the page", False)
    except urllib.error.HTTPError as e:
        check("a declined card stays on the page", e.code == 402, e.code)
    control("pay", session=session.id, card="4242", email="ada@example.com")
    session = v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "line_items", "invoice.payments"]})
    check("complete and paid", (session.status, session.payment_status) == ("complete", "paid"))
    sub = session.subscription
    check("active with metadata", (sub.status, sub.metadata["tenant_id"]) == ("active", "tenant_1"))
    check("the invoice is paid once", session.invoice.status == "paid" and len(session.invoice.payments.data) == 1)
    check("line items", session.line_items.data[0].price.id == price.id)

    item = sub["items"]["data"][0]
    when = raw(f"/v1/subscriptions/{sub.id}")["items"]["data"][0]["current_period_start"]
    preview = v1.invoices.create_preview({"subscription": sub.id, "subscription_details": {
        "items": [{"id": item.id, "price": more.id}], "proration_behavior": "always_invoice", "proration_date": when}})
    check("a preview of the whole period is the difference", preview.total == 3000, preview.total)
    changed = v1.subscriptions.update(sub.id, {"items": [{"id": item.id, "price": more.id}], "proration_behavior": "always_invoice",
                                                "proration_date": when, "payment_behavior": "error_if_incomplete"})
    check("the plan changed", changed["items"]["data"][0].price.id == more.id)
    invoice = v1.invoices.retrieve(changed.latest_invoice)
    check("and was billed as previewed", (invoice.status, invoice.total, invoice.billing_reason) == ("paid", 3000, "subscription_update"),
          (invoice.status, invoice.total))
    return changed, session.customer


def renewal(sub, customer):
    start = sub["items"]["data"][0].current_period_end
    control("clock/advance", seconds=start - raw_now() + 60)
    sub = v1.subscriptions.retrieve(sub.id, {"expand": ["latest_invoice"]})
    check("the period moves before the money", (sub.latest_invoice.status, sub["items"]["data"][0].current_period_start) == ("draft", start),
          sub.latest_invoice.status)
    control("clock/advance", seconds=3700)
    invoice = v1.invoices.retrieve(sub.latest_invoice.id)
    check("an hour later it is paid", (invoice.status, invoice.billing_reason) == ("paid", "subscription_cycle"), invoice.status)
    control("card", customer=customer, card="0341")
    control("clock/advance", seconds=32 * 86400)
    sub = v1.subscriptions.retrieve(sub.id, {"expand": ["latest_invoice"]})
    check("a failing card makes it past due", sub.status == "past_due", sub.status)
    check("with a next attempt", sub.latest_invoice.next_payment_attempt is not None)
    refused("paying with the failing card", stripe.CardError, lambda: v1.invoices.pay(sub.latest_invoice.id), code="card_declined")
    control("card", customer=customer, card="4242")
    check("paying with another works", v1.invoices.pay(sub.latest_invoice.id).status == "paid")
    check("and the subscription is back", v1.subscriptions.retrieve(sub.id).status == "active")
    v1.subscriptions.update(sub.id, {"cancel_at_period_end": True})
    control("clock/advance", seconds=40 * 86400)
    check("canceled at the period's end", v1.subscriptions.retrieve(sub.id).status == "canceled")


def raw_now():
    with urllib.request.urlopen(f"{BASE}/control/clock") as r:
        return json.load(r)["now"]


def payments():
    pi = v1.payment_intents.create({"amount": 10000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
                                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}})
    check("an intent succeeds", pi.status == "succeeded")
    part = v1.refunds.create({"payment_intent": pi.id, "amount": 3000})
    check("a part comes back", part.status == "succeeded")
    refused("more than is left", stripe.InvalidRequestError, lambda: v1.refunds.create({"payment_intent": pi.id, "amount": 8000}), param="amount")
    v1.refunds.create({"payment_intent": pi.id})
    charge = v1.charges.retrieve(pi.latest_charge, {"expand": ["refunds", "balance_transaction"]})
    check("all of it is refunded", charge.refunded and charge.amount_refunded == 10000 and len(charge.refunds.data) == 2)
    refused("once more", stripe.InvalidRequestError, lambda: v1.refunds.create({"charge": charge.id}), code="charge_already_refunded")
    held = v1.payment_intents.create({"amount": 5000, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True, "capture_method": "manual",
                                      "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}})
    check("held", held.status == "requires_capture")
    check("captured in part", v1.payment_intents.capture(held.id, {"amount_to_capture": 2000}).amount_received == 2000)
    e = refused("a decline", stripe.CardError, lambda: v1.payment_intents.create({
        "amount": 2000, "currency": "usd", "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds", "confirm": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}), code="card_declined", http_status=402)
    check("with its reason", e.error.decline_code == "insufficient_funds")
    disputed = v1.payment_intents.create({"amount": 2000, "currency": "usd", "payment_method": "pm_card_createDispute", "confirm": True,
                                          "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}})
    dispute = v1.disputes.list({"payment_intent": disputed.id}).data[0]
    won = v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True})
    check("a dispute is won", v1.disputes.retrieve(dispute.id).status == "won", won.status)


def page_payment(once):
    """What a browser does on the page of a one-time payment, by its form alone."""
    session = v1.checkout.sessions.create({
        "mode": "payment", "success_url": "http://shop.example/?s={CHECKOUT_SESSION_ID}", "cancel_url": "http://shop.example/no",
        "line_items": [{"price": once.id, "quantity": 2}], "payment_intent_data": {"metadata": {"tenant_id": "tenant_1"}}})
    status, _, page = visit(session.url)
    check("the page names the sum", status == 200 and "Pay 20.00 USD" in page, status)
    status, _, page = visit(session.url, email="not an address", card="4242")
    check("a wrong address is said on the page", status == 400 and "email-error" in page, status)
    status, _, page = visit(session.url, email="eve@example.com", card="9995")
    check("a decline is said on the page", status == 402 and "insufficient funds" in page, status)
    failed = v1.payment_intents.list({"limit": 1}).data[0]
    check("and leaves an intent that failed", (failed.status, failed.last_payment_error.decline_code)
          == ("requires_payment_method", "insufficient_funds"), failed.status)
    check("cancelling leads back", visit(session.url, cancel="1")[:2] == (303, "http://shop.example/no"))
    check("and leaves it open", v1.checkout.sessions.retrieve(session.id).status == "open")
    status, bank, _ = visit(session.url, email="eve@example.com", card="3184")
    check("a card may ask the bank first", status == 303 and bank.startswith("/authenticate/"), bank)
    check("which may refuse", visit(BASE + bank, answer="refuse")[0] == 303)
    check("as the page then says", "unable to authenticate" in visit(session.url)[2])
    status, to, _ = visit(session.url, email="eve@example.com", card="4242")
    check("paying leads to the shop", (status, to) == (303, f"http://shop.example/?s={session.id}"), to)
    paid = v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    check("complete and paid", (paid.status, paid.payment_status, paid.amount_total) == ("complete", "paid", 2000))
    intent = paid.payment_intent
    check("one intent took it all", (intent.id, intent.amount_received, intent.metadata["tenant_id"]) == (failed.id, 2000, "tenant_1"))
    check("one charge of it paid", [c.paid for c in v1.charges.list({"payment_intent": intent.id}).data].count(True) == 1)
    check("the buyer is known by the address", paid.customer_details.email == "eve@example.com", paid.customer_details)
    check("a second click pays nothing", visit(session.url, email="eve@example.com", card="4242")[0] == 200
          and [c.paid for c in v1.charges.list({"payment_intent": intent.id}).data].count(True) == 1)


def payment_links(price, once):
    link = v1.payment_links.create({"line_items": [{"price": once.id, "quantity": 1}], "metadata": {"campaign": "spring"},
                                    "after_completion": {"type": "redirect", "redirect": {"url": "http://shop.example/thanks"}}})
    check("a link is active and has an address", link.active and link.url.startswith(BASE), link.url)
    check("its items", v1.payment_links.line_items.list(link.id).data[0].price.id == once.id)
    seen = []
    for reference, kept in (("visit-1", "visit-1"), ("not allowed!", None)):
        query = urllib.parse.urlencode({"client_reference_id": reference, "prefilled_email": "leo@example.com"})
        status, page, _ = visit(f"{link.url}?{query}")
        check("a visit opens a checkout", status == 303 and page.startswith("/pay/"), page)
        check("with the address filled in", 'value="leo@example.com"' in visit(BASE + page)[2])
        status, to, _ = visit(BASE + page, email="leo@example.com", card="4242")
        check("paying leads to the link's page", (status, to) == (303, "http://shop.example/thanks"), to)
        session = v1.checkout.sessions.retrieve(page.split("/")[-1])
        check("the session names link, campaign and visitor", (session.payment_link, session.metadata["campaign"],
              session.client_reference_id, session.payment_status) == (link.id, "spring", kept, "paid"), session.client_reference_id)
        seen.append(session.id)
    listed = [s.id for s in v1.checkout.sessions.list({"payment_link": link.id}).data]
    check("each visit is a session of its own", sorted(listed) == sorted(seen), listed)
    check("switched off", not v1.payment_links.update(link.id, {"active": False}).active)
    check("it sells nothing", visit(link.url)[0] >= 400)
    plan = v1.payment_links.create({"line_items": [{"price": price.id, "quantity": 1}]})
    page = visit(plan.url)[1]
    visit(BASE + page, email="mia@example.com", card="4242")
    session = v1.checkout.sessions.retrieve(page.split("/")[-1], {"expand": ["subscription"]})
    check("a link of a plan subscribes", (session.mode, session.subscription.status) == ("subscription", "active"))


def webhooks(hook):
    """The package's own verifier on what the sandbox sent."""
    customer = v1.customers.create({"email": "hook@example.com"})
    event = hook.heard("customer.created", id=customer.id)
    check("a delivery is genuine", event is not None, hook.refused[:1])
    check("it is an event of the package's own kind", isinstance(event, stripe.Event) and event.data.object["email"] == "hook@example.com")
    v1.customers.update(customer.id, {"name": "Hook"})
    event = hook.heard("customer.updated", id=customer.id)
    check("an update says what changed", json.loads(str(event))["data"]["previous_attributes"] == {"name": None}, event)
    body, header = hook.last
    error = stripe.SignatureVerificationError
    refused("another body", error, lambda: stripe.Webhook.construct_event(body.replace(b"hook@", b"h00k@"), header, hook.secret))
    refused("another secret", error, lambda: stripe.Webhook.construct_event(body, header, "whsec_of_somebody_else_0123456789"))
    refused("a signature of long ago", error, lambda: stripe.Webhook.construct_event(body, header, hook.secret, tolerance=-1))


def connect():
    account = v1.accounts.create({"type": "express", "country": "US", "capabilities": {"card_payments": {"requested": True}, "transfers": {"requested": True}}})
    link = v1.account_links.create({"account": account.id, "type": "account_onboarding", "refresh_url": "http://x/r", "return_url": f"{BASE}/paid"})
    urllib.request.urlopen(urllib.request.Request(link.url, data=b""))
    check("onboarded", v1.accounts.retrieve(account.id).charges_enabled)
    there = {"stripe_account": account.id}
    pi = v1.payment_intents.create({"amount": 4000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, "application_fee_amount": 400,
                                    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}, there)
    refused("the platform does not see it", stripe.InvalidRequestError, lambda: v1.payment_intents.retrieve(pi.id), http_status=404)
    events = v1.events.list({"types": ["payment_intent.succeeded"]}, there).data
    # Only a delivery has to name the account: whoever lists has named it.
    check("its events are listed for it", events[0].data.object.id == pi.id and getattr(events[0], "account", account.id) == account.id)
    check("and not for the platform", all(e.data.object.id != pi.id for e in v1.events.list({"types": ["payment_intent.succeeded"]}).data))


def lists_and_search():
    email = f"many-{time.time()}@example.com"
    for n in range(12):
        v1.customers.create({"email": email, "metadata": {"n": str(n)}})
    found = list(v1.customers.list({"email": email, "limit": 5}).auto_paging_iter())
    check("pages run to the end, newest first", [c.metadata["n"] for c in found] == [str(n) for n in reversed(range(12))])
    check("search", len(v1.customers.search({"query": f"email:'{email}'", "limit": 100}).data) == 12)


def all_events():
    return list(v1.events.list({"limit": 100}).auto_paging_iter())


def main():
    hook = Hook()
    endpoint = v1.webhook_endpoints.create({"url": f"http://127.0.0.1:{hook.server.server_port}/", "enabled_events": ["*"]})
    hook.secret = endpoint.secret
    price, more, once = catalogue()
    part(strictness, price)
    part(idempotency)
    part(webhooks, hook)
    part(page_payment, once)
    part(payment_links, price, once)
    sub, customer = subscription_by_checkout(price, more)
    part(payments)
    part(connect)
    # The clock is about to move: a signature of next month is refused, and rightly so.
    heard = hook.heard("charge.dispute.closed")
    check("every delivery was genuine", heard is not None and not hook.refused, hook.refused[:3])
    v1.webhook_endpoints.delete(endpoint.id)
    part(renewal, sub, customer)
    part(lists_and_search)
    events = all_events()
    check("events have distinct ids", len({e.id for e in events}) == len(events))
    print(f"ran python stripe {stripe.VERSION}: checks={checks} failed={failed} webhooks={len(hook.events)}")
    sys.exit(1 if failed else 0)


main()
