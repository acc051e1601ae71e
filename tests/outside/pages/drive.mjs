// Uses the pages in a browser: by keyboard and without scripts first, then under axe-core's eyes.
// Started by run.sh, which says in the environment where everything is. Exits 1 when a check failed.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { CHROMIUM, SANDBOX, BURSAR, OPERATOR, PRO, CREDITS } = process.env;
const SETTLE_MS_MAX = 15_000;

let steps = 0;
let failed = 0;
function check(what, condition, seen) {
  steps += 1;
  if (condition) return;
  failed += 1;
  console.log(`FAILED: ${what}:`, seen);
}

async function stripe(route, fields) {
  const answer = await fetch(`${SANDBOX}/v1/${route}`, {
    method: fields ? "POST" : "GET",
    headers: { authorization: "Bearer sk_test_outside_pages" },
    body: fields && new URLSearchParams(fields),
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(`${route}: ${JSON.stringify(json)}`);
  return json;
}
async function control(route, fields) {
  const answer = await fetch(`${SANDBOX}/control/${route}`, { method: "POST", body: JSON.stringify(fields) });
  if (!answer.ok) throw new Error(`${route}: ${await answer.text()}`);
}
function session(price, mode, more = {}) {
  return stripe("checkout/sessions", {
    mode, "line_items[0][price]": price, "line_items[0][quantity]": "1", client_reference_id: "acme",
    success_url: `${SANDBOX}/paid?session={CHECKOUT_SESSION_ID}`, cancel_url: `${BURSAR}/docs`, ...more,
  });
}

/** Asks Bursar until it says what it should, and checks it: dotted field -> value. */
async function bursar(what, route, wanted) {
  const until = Date.now() + SETTLE_MS_MAX;
  const value = (from, dotted) => dotted.split(".").reduce((inner, key) => inner?.[key], from);
  for (;;) {
    const answer = await fetch(`${BURSAR}/api/v1/${route}`, { headers: { authorization: `Bearer ${OPERATOR}` } });
    const seen = await answer.json();
    const holds = Object.entries(wanted).every(([dotted, one]) => value(seen, dotted) === one);
    if (holds || Date.now() > until) {
      check(`Bursar: ${what}`, holds, Object.fromEntries(Object.keys(wanted).map((key) => [key, value(seen, key)])));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const home = new Set([new URL(SANDBOX).host, new URL(BURSAR).host]);
const outside = new Set();
const scripts = new Set();
/** A page of a browser of its own. */
async function visitor(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!home.has(url.host)) outside.add(url.host);
    if (request.resourceType() === "script") scripts.add(request.url());
  });
  return page;
}

/** What has the focus: `tag name=value` or its words. */
function focused(page) {
  return page.evaluate(() => {
    const at = document.activeElement;
    if (!at || at === document.body) return "nothing";
    return at.type === "radio" ? `radio ${at.value}` : at.id || at.textContent.trim();
  });
}
/** Whether one can see where the focus is: an outline of the element, or of the row it stands in. */
function focusIsSeen(page) {
  return page.evaluate(() => {
    const at = document.activeElement;
    return [at, at.closest("label")].some((one) => one && parseFloat(getComputedStyle(one).outlineWidth) >= 2
      && getComputedStyle(one).outlineStyle !== "none");
  });
}
/** Presses a key some times, then checks where the focus is and that it is seen. */
async function press(page, keys, wanted) {
  for (const key of keys.split(" ")) await page.keyboard.press(key);
  const at = await focused(page);
  check(`${keys} leads to ${wanted}`, at === wanted, at);
  check(`the focus on ${wanted} is seen`, await focusIsSeen(page), at);
}
async function enter(page) {
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
}
/** Checks an element's text; one that is not there is a failure, not a wait. */
async function says(page, selector, part) {
  const found = page.locator(selector);
  const text = (await found.count()) > 0 ? await found.first().innerText() : "not there";
  check(`${selector} says "${part}"`, text.includes(part), `${text} at ${page.url()}`);
}

async function declinedThenPays(page) {
  const { url, id } = await session(PRO, "subscription");
  const first = await page.goto(url);
  check("the page has no script", !(await first.text()).includes("<script"), url);
  await says(page, "h1", "Pay 29.00 USD");
  await press(page, "Tab", "email");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("ada@example.com");
  await press(page, "Tab", "radio 4242");
  await press(page, "ArrowDown", "radio 0002");
  await press(page, "Tab", "Pay 29.00 USD");
  await enter(page);
  check("a decline stays on the page", page.url() === url, page.url());
  await says(page, "fieldset .error", "Your card was declined.");
  check("the title says so first", (await page.title()).startsWith("Error"), await page.title());
  check("what was typed is kept", (await page.inputValue("#email")) === "ada@example.com", await page.inputValue("#email"));
  check("the focus is on the card that failed", (await focused(page)) === "radio 0002", await focused(page));
  const about = await page.getAttribute("fieldset", "aria-describedby");
  check("the cards are described by the error", about === "card-error", about);
  await press(page, "ArrowUp", "radio 4242");
  await press(page, "Tab", "Pay 29.00 USD");
  await enter(page);
  check("paying leads to the caller's page", page.url() === `${SANDBOX}/paid?session=${id}`, page.url());
  await says(page, "h1", "Thank you");
  await bursar("the visitor's tenant is active", "tenants/acme", {
    status: "active", planId: "pro", "license.state": "active", "subscription.cancelAtPeriodEnd": false, email: "ada@example.com",
  });
  await page.goto(url);
  await says(page, "h1", "This checkout is complete.");
  return (await stripe(`checkout/sessions/${id}`)).customer;
}

async function asksTheBank(page, customer) {
  const { url, id } = await session(CREDITS, "payment", { customer, "metadata[tenant_id]": "acme", "metadata[plan_id]": "credits-10" });
  await page.goto(url);
  await press(page, "Tab", "radio 4242");
  await press(page, "ArrowDown ArrowDown ArrowDown", "radio 3184");
  await page.keyboard.press("Enter"); // submits, as in every form
  await page.waitForURL("**/authenticate/**");
  await says(page, "main", "10.00 USD");
  await press(page, "Tab", "Agree");
  await press(page, "Tab", "Refuse");
  await enter(page);
  check("a refusal leads back to the checkout", page.url() === url, page.url());
  await says(page, "fieldset .error", "We are unable to authenticate your payment method.");
  await bursar("nothing is bought by a refusal", "tenants/acme", { credits: 0 });
  await press(page, "ArrowDown ArrowDown ArrowDown", "radio 3184");
  await press(page, "Tab", "Pay 10.00 USD");
  await enter(page);
  await press(page, "Tab", "Agree");
  await enter(page);
  check("agreeing pays", page.url() === `${SANDBOX}/paid?session=${id}`, page.url());
  await bursar("ten credits are there", "tenants/acme", { credits: 10 });
}

async function goesBack(page, customer) {
  const { url, id } = await session(CREDITS, "payment", { customer });
  await page.goto(url);
  await press(page, "Tab Tab Tab", "Cancel and go back");
  await enter(page);
  check("cancelling leads to the caller's page", page.url() === `${BURSAR}/docs`, page.url());
  const after = await stripe(`checkout/sessions/${id}`);
  check("the session stays open", after.status === "open", after.status);
}

async function usesThePortal(page, customer) {
  const { url } = await stripe("billing_portal/sessions", { customer, return_url: `${BURSAR}/docs` });
  await page.goto(url);
  await says(page, "main", "Visa ending in 4242");
  await press(page, "Tab Tab", "Cancel at the end of the period");
  await enter(page);
  await says(page, "[role=status]", "The subscription will end with its period.");
  await says(page, "ul.rows", "ends on");
  await bursar("the subscription will end", "tenants/acme", { status: "active", "subscription.cancelAtPeriodEnd": true });
  await press(page, "Tab Tab", "Keep the plan");
  await enter(page);
  await says(page, "[role=status]", "The subscription goes on.");
  await bursar("the subscription goes on", "tenants/acme", { "subscription.cancelAtPeriodEnd": false });
  await press(page, "Tab Tab Tab", "radio 4242");
  await press(page, "ArrowDown", "radio 4444");
  await press(page, "Tab", "Change the payment method");
  await enter(page);
  await says(page, "main", "Mastercard ending in 4444");
  await press(page, "Tab", "Back to where you came from");
  await enter(page);
  check("the way back", page.url() === `${BURSAR}/docs`, page.url());
}

async function movesTheClock(page) {
  await page.goto(SANDBOX);
  const before = await page.getAttribute("time", "datetime");
  await press(page, "Tab", "days");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("2");
  await press(page, "Tab", "Move the clock");
  await enter(page);
  await says(page, "[role=status]", "The clock moved forward by 2 days.");
  const moved = Date.parse(await page.getAttribute("time", "datetime")) - Date.parse(before);
  check("the clock moved by two days", Math.abs(moved - 2 * 86_400_000) < 60_000, moved);
}

/** Every page there is: its name and how to get there. */
async function everyPage(customer) {
  const open = await session(PRO, "subscription");
  const tried = await session(CREDITS, "payment");
  const asked = await session(CREDITS, "payment");
  const trial = await session(PRO, "subscription", { "subscription_data[trial_period_days]": "14" });
  const paid = (await stripe(`checkout/sessions?customer=${customer}`)).data;
  const invoice = (await stripe(`invoices?customer=${customer}&limit=1`)).data[0].id;
  const charge = (await stripe(`charges?customer=${customer}&limit=1`)).data[0].id;
  const portal = await stripe("billing_portal/sessions", { customer, return_url: `${BURSAR}/docs` });
  const account = await stripe("accounts", { type: "express", country: "US" });
  const onboarding = await stripe("account_links", {
    account: account.id, type: "account_onboarding", refresh_url: SANDBOX, return_url: SANDBOX,
  });
  await control("onboard", { account: account.id });
  const express = await stripe(`accounts/${account.id}/login_links`, {});
  const mail = await fetch(`${SANDBOX}/v3/example.com/messages`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa("api:key")}` },
    body: new URLSearchParams({
      from: "billing@example.com", to: "ada@example.com", subject: "A receipt", text: "We received 29.00 EUR.",
      html: "<html lang=en><title>A receipt</title><h1>A receipt</h1><script>document.title='ran'</script></html>",
    }),
  });
  check("the double of Mailgun takes a mail", mail.status === 200, await mail.text());
  const at = (url) => (page) => page.goto(url);
  const click = async (page, name) => {
    await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name }).first().click()]);
  };
  return {
    overview: at(SANDBOX),
    "overview, wrong number": async (page) => {
      await page.goto(SANDBOX);
      await page.evaluate(() => document.querySelector("form").setAttribute("novalidate", ""));
      await page.fill("#days", "9999");
      await click(page, "Move the clock");
    },
    control: at(`${SANDBOX}/control`),
    mail: at(`${SANDBOX}/mail`),
    "one mail": at(`${SANDBOX}/mail/1`),
    checkout: at(open.url),
    trial: at(trial.url),
    declined: async (page) => {
      await page.goto(tried.url);
      await page.getByRole("radio", { name: /9995/ }).check();
      await click(page, /^Pay/);
    },
    "wrong e-mail": async (page) => {
      await page.goto(tried.url);
      await page.evaluate(() => document.querySelector("form").setAttribute("novalidate", ""));
      await page.fill("#email", "ada@");
      await click(page, /^Pay/);
    },
    bank: async (page) => {
      await page.goto(asked.url);
      if (await page.getByRole("radio").count()) {
        await page.getByRole("radio", { name: /3184/ }).check();
        await click(page, /^Pay/);
      }
    },
    paid: at(`${SANDBOX}/paid`),
    complete: at(`${SANDBOX}/pay/${paid.find((one) => one.status === "complete").id}`),
    portal: at(portal.url),
    "portal, done": async (page) => {
      await page.goto(portal.url);
      await click(page, /Change the payment method/);
    },
    invoice: at(`${SANDBOX}/invoices/${invoice}`),
    receipt: at(`${SANDBOX}/receipts/${charge}`),
    onboarding: at(onboarding.url),
    express: at(express.url),
    "not found": at(`${SANDBOX}/pay/cs_test_nothing`),
    "Bursar's docs": at(`${BURSAR}/docs`),
    "Bursar's webhook": at(`${BURSAR}/webhook`),
  };
}

let violations = 0;
let looks = 0;
/** Looks at every page with axe-core, and that nothing is wider than the window. */
async function inspect(pages) {
  const views = [
    { colorScheme: "light", viewport: { width: 1100, height: 800 } },
    { colorScheme: "dark", viewport: { width: 320, height: 700 } },
  ];
  for (const view of views) {
    // axe-core is a script, and what the pages' policy says about scripts is checked above.
    const page = await visitor({ ...view, bypassCSP: true });
    for (const [name, open] of Object.entries(pages)) {
      await open(page);
      const named = `${name}, ${view.colorScheme}, ${view.viewport.width} wide`;
      check(`${named}: has a heading`, (await page.locator("h1").count()) === 1, await page.content());
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      check(`${named}: nothing is wider than the window`, width <= view.viewport.width, width);
      await page.evaluate(axe);
      const found = await page.evaluate(() => globalThis.axe.run(document));
      looks += 1;
      violations += found.violations.length;
      for (const one of found.violations) {
        const where = one.nodes.slice(0, 3).map((node) => `${node.target}: ${node.failureSummary}`).join("; ");
        check(`${named}: ${one.id}`, false, where);
      }
    }
    await page.context().close();
  }
}

const page = await visitor({ javaScriptEnabled: false });
const customer = await declinedThenPays(page);
await asksTheBank(page, customer);
await goesBack(page, customer);
await usesThePortal(page, customer);
await control("webhook", { url: "", secrets: "" }); // a signature of the day after tomorrow is worth nothing
await movesTheClock(page);
const pages = await everyPage(customer);
await inspect(pages);
check("nothing came from another host", outside.size === 0, [...outside]);
check("no script was asked for", scripts.size === 0, [...scripts]);
console.log(`ran pages in chromium ${browser.version()}: pages=${Object.keys(pages).length} axe_looks=${looks} ` +
  `axe_violations=${violations} steps=${steps} failed=${failed} outside_hosts=${outside.size}`);
await browser.close();
process.exit(failed ? 1 : 0);
