// What the browser suites share: servers asked from outside, a visitor with a browser of its own, the keyboard, and a
// look at a page with axe-core. run.sh says in the environment where everything is.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
export const { CHROMIUM, SANDBOX, BURSAR, OPERATOR, PRO, CREDITS, SHOTS } = process.env;
const SETTLE_MS_MAX = 15_000;

export let steps = 0;
export let failed = 0;
export function check(what, condition, seen) {
  steps += 1;
  if (condition) return;
  failed += 1;
  console.log(`FAILED: ${what}:`, seen);
}

export async function stripe(route, fields) {
  const answer = await fetch(`${SANDBOX}/v1/${route}`, {
    method: fields ? "POST" : "GET",
    headers: { authorization: "Bearer sk_test_outside_pages" },
    body: fields && new URLSearchParams(fields),
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(`${route}: ${JSON.stringify(json)}`);
  return json;
}
export async function control(route, fields) {
  const answer = await fetch(`${SANDBOX}/control/${route}`, { method: "POST", body: JSON.stringify(fields) });
  if (!answer.ok) throw new Error(`${route}: ${await answer.text()}`);
}
export function session(price, mode, more = {}) {
  return stripe("checkout/sessions", {
    mode, "line_items[0][price]": price, "line_items[0][quantity]": "1", client_reference_id: "acme",
    success_url: `${SANDBOX}/paid?session={CHECKOUT_SESSION_ID}`, cancel_url: `${BURSAR}/docs`, ...more,
  });
}

/** Asks Bursar until it says what it should, and checks it: dotted field -> value. */
export async function bursar(what, route, wanted) {
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

export const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const home = new Set([new URL(SANDBOX).host, new URL(BURSAR).host]);
export const outside = new Set();
export const scripts = new Set();
/** A page of a browser of its own. */
export async function visitor(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (!home.has(url.host)) outside.add(url.host);
    if (request.resourceType() === "script") scripts.add(request.url());
  });
  return page;
}

/** What has the focus: `tag name=value` or its words. */
export function focused(page) {
  return page.evaluate(() => {
    const at = document.activeElement;
    if (!at || at === document.body) return "nothing";
    return at.type === "radio" ? `radio ${at.value}` : at.id || at.textContent.trim();
  });
}
/** Whether one can see where the focus is: an outline of the element, or of the row it stands in. */
export function focusIsSeen(page) {
  return page.evaluate(() => {
    const at = document.activeElement;
    return [at, at.closest("label")].some((one) => one && parseFloat(getComputedStyle(one).outlineWidth) >= 2
      && getComputedStyle(one).outlineStyle !== "none");
  });
}
/** Presses a key some times, then checks where the focus is and that it is seen. */
export async function press(page, keys, wanted) {
  for (const key of keys.split(" ")) await page.keyboard.press(key);
  const at = await focused(page);
  check(`${keys} leads to ${wanted}`, at === wanted, at);
  check(`the focus on ${wanted} is seen`, await focusIsSeen(page), at);
}
export async function enter(page) {
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
}
/** Checks an element's text; one that is not there is a failure, not a wait. */
export async function says(page, selector, part) {
  const found = page.locator(selector);
  const text = (await found.count()) > 0 ? await found.first().innerText() : "not there";
  check(`${selector} says "${part}"`, text.includes(part), `${text} at ${page.url()}`);
}

export let violations = 0;
export let looks = 0;
/** Looks at every page with axe-core, and that nothing is wider than the window. */
export async function inspect(pages, state) {
  const views = [
    { colorScheme: "light", viewport: { width: 1100, height: 800 } },
    { colorScheme: "dark", viewport: { width: 320, height: 700 } },
  ];
  for (const view of views) {
    // axe-core is a script, and what the pages' policy says about scripts is checked above.
    const page = await visitor({ ...view, bypassCSP: true, ...(state && { storageState: state }) });
    for (const [name, open] of Object.entries(pages)) {
      await open(page);
      const named = `${name}, ${view.colorScheme}, ${view.viewport.width} wide`;
      check(`${named}: has a heading`, (await page.locator("h1").count()) === 1, await page.content());
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      check(`${named}: nothing is wider than the window`, width <= view.viewport.width, width);
      if (SHOTS) {
        const file = `${name.replace(/[^a-z0-9]+/gi, "-").toLowerCase()}-${view.colorScheme}.png`;
        await page.screenshot({ path: path.join(SHOTS, file), fullPage: true });
      }
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
