// Drives a running sandbox with Stripe's own Node package: webhooks made by the sandbox are checked
// by the package's verifier.  node drive.mjs BASE_URL   (exits 1 on the first failed check)
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const Stripe = require("stripe");
const base = new URL(process.argv[2]);
const stripe = new Stripe("sk_test_outside_node", {
  host: base.hostname, port: base.port, protocol: "http", telemetry: false, maxNetworkRetries: 2,
});
let checks = 0;
function check(what, condition, seen) {
  checks += 1;
  if (!condition) {
    console.log(`FAILED: ${what}:`, seen);
    process.exit(1);
  }
}
async function control(route, fields) {
  const answer = await fetch(new URL(`/control/${route}`, base), { method: "POST", body: JSON.stringify(fields) });
  check(`control ${route}`, answer.ok, answer.status);
  return answer.json();
}
async function waitFor(what, predicate) {
  for (let n = 0; n < 500; n += 1) {
    if (predicate()) return check(what, true);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  check(what, false, "timed out");
}

const received = [];
let secret;
const receiver = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts);
    try {
      received.push(stripe.webhooks.constructEvent(body, request.headers["stripe-signature"], secret));
      response.writeHead(200).end("ok");
    } catch (error) {
      check("the verifier accepts every delivery", false, error.message);
    }
  });
});
await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const endpoint = await stripe.webhookEndpoints.create({ url: `http://127.0.0.1:${receiver.address().port}/`, enabled_events: ["*"] });
secret = endpoint.secret;
check("the endpoint has a secret at creation", secret.startsWith("whsec_"), secret);

const product = await stripe.products.create({ name: "Team" });
const price = await stripe.prices.create({ product: product.id, currency: "eur", unit_amount: 1200, recurring: { interval: "month" } });
const customer = await stripe.customers.create({ email: "node@example.com", payment_method: "pm_card_visa", invoice_settings: { default_payment_method: "pm_card_visa" } });
const subscription = await stripe.subscriptions.create({ customer: customer.id, items: [{ price: price.id, quantity: 3 }], expand: ["latest_invoice.payments"] });
check("a subscription is active", subscription.status === "active", subscription.status);
check("its invoice is 36.00", subscription.latest_invoice.total === 3600, subscription.latest_invoice.total);
const intent = subscription.latest_invoice.payments.data[0].payment.payment_intent;
const found = await stripe.invoicePayments.list({ payment: { type: "payment_intent", payment_intent: intent } });
check("the intent leads back to the invoice", found.data[0].invoice === subscription.latest_invoice.id, found.data);

const more = await stripe.subscriptions.update(subscription.id, { items: [{ id: subscription.items.data[0].id, quantity: 5 }], proration_behavior: "none" });
check("quantity changes", more.items.data[0].quantity === 5, more.items.data);

// The package retries by itself with the same key: 409, 500 without execution, and an answer lost after commit.
for (const kind of ["conflict", "server_error", "rate_limited", "reset_after_commit"]) {
  await control("faults", { kind, matching: "POST /v1/customers" });
  const made = await stripe.customers.create({ email: `${kind}@example.com` });
  const all = await stripe.customers.list({ email: `${kind}@example.com` });
  check(`${kind}: retried and made once`, all.data.length === 1 && all.data[0].id === made.id, all.data.length);
}
try {
  await stripe.paymentIntents.create({ amount: 2000, currency: "eur", payment_method: "pm_card_visa_chargeDeclined", confirm: true, automatic_payment_methods: { enabled: true, allow_redirects: "never" } });
  check("a decline throws", false);
} catch (error) {
  check("a decline throws", error.type === "StripeCardError" && error.code === "card_declined", error.message);
}
const portal = await stripe.billingPortal.sessions.create({ customer: customer.id, return_url: "http://shop.example/" });
check("the portal loads", (await fetch(portal.url)).status === 200);
const seen = [];
for await (const event of stripe.events.list({ limit: 3 })) seen.push(event.id);
check("events page to the end", seen.length === new Set(seen).size && seen.length > 15, seen.length);
// By type, not by a count: the decline's events are among the last, and a delivery takes the time it takes.
for (const type of ["customer.subscription.created", "invoice.paid", "charge.succeeded", "payment_intent.payment_failed"]) {
  await waitFor(`${type} is delivered and verified`, () => received.some((event) => event.type === type));
}
check("at least as many deliveries as events known", received.length >= 15, received.length);
await stripe.webhookEndpoints.del(endpoint.id);
receiver.close();
console.log(`ran node stripe ${Stripe.PACKAGE_VERSION ?? require("stripe/package.json").version}: checks=${checks} failed=0 webhooks=${received.length}`);
process.exit(0);
