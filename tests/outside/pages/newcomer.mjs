// The newcomer's way, as the README says it: the one command runs, its log is read as a person reads it, and six clicks
// lead from the printed login to money given back. Clicks are counted; typing is not. Started by run.sh.
import { readFileSync } from "node:fs";
import { BURSAR, browser, check, failed, outside, says, visitor } from "./kit.mjs";

const CLICKS_MAX = 6;
const STORY_MS_MAX = 90_000;
const TABS_MAX = 10;
const printed = () => readFileSync(process.env.DEMO_LOG, "utf8");

async function storyEnds() {
  const until = Date.now() + STORY_MS_MAX;
  while (!printed().includes("It stays up")) {
    if (Date.now() > until) throw new Error(`the story does not end: ${printed()}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

let clicks = 0;
/** Clicks on what says this, once, and waits for the page it leads to. */
async function click(page, name) {
  const found = page.getByRole("button", { name, exact: true }).or(page.getByRole("link", { name, exact: true }));
  check(`one thing says ${name}`, (await found.count()) === 1, await found.allInnerTexts());
  clicks += 1;
  await Promise.all([page.waitForEvent("load"), found.click()]);
}
async function type(page, field, text) {
  for (let tabs = 0; tabs < TABS_MAX; tabs += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate((name) => document.activeElement.name === name, field)) break;
  }
  await page.keyboard.type(text);
}

await storyEnds();
const [, email, password] = /login +(\S+) \/ (\S+)/.exec(printed());
const [, operator] = /operator key +(\S+)/.exec(printed());
const page = await visitor({ javaScriptEnabled: false });
await page.goto(`${BURSAR}/console`);
await type(page, "email", email);
await type(page, "password", password);
await click(page, "Sign in");
await click(page, "Open a checkout");
await click(page, "Go to the payment page");
await says(page, "body", "SANDBOX");
await click(page, /^Pay /);
await says(page, "h1", "Sold");
await click(page, "Refund it…");
const asked = page.url();
await click(page, /^Refund /);
await says(page, "[role=status]", "The refund is made");
const id = /payments\/(pi_[A-Za-z0-9]+)/.exec(asked)?.[1];
const answer = await fetch(`${BURSAR}/api/v1/payments/${id}`, { headers: { authorization: `Bearer ${operator}` } });
const { amountCaptured, amountRefunded } = await answer.json();
check("all of the payment went back", amountCaptured > 0 && amountRefunded === amountCaptured, [id, amountCaptured, amountRefunded]);
check(`at most ${CLICKS_MAX} clicks`, clicks <= CLICKS_MAX, clicks);
check("nothing came from another host", outside.size === 0, [...outside]);
console.log(`ran newcomer in chromium ${browser.version()}: commands=1 clicks=${clicks} refunded=${amountRefunded} failed=${failed}`);
await browser.close();
process.exit(failed ? 1 : 0);
