// Uses the console in a browser: without scripts and by keyboard signs in, sells a plan through the sandbox's page,
// sees it, refunds it, replays dead letters, rotates a secret; then axe-core looks at every page, light and dark.
// Started by run.sh, which says in the environment where everything is. Exits 1 when a check failed.
import { createHmac } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import {
  BURSAR, OPERATOR, SANDBOX, browser, bursar, check, control, enter, failed, focused, inspect, looks, outside, press,
  says, scripts, steps, violations, visitor,
} from "./kit.mjs";

const { MAILS, SECRET } = process.env;
const HOSTILE = `<b id=hostile>"umbra" & 'co'</b><script>document.title='ran'</script>`;
const OWNER = { email: "olive@umbra.test", password: "a password of sixteen" };
const at = (route) => `${BURSAR}${route}`;
let replayed = 0;

async function api(verb, route, body, key = OPERATOR) {
  const answer = await fetch(at(`/api/v1/${route}`), {
    method: verb,
    headers: { ...(key && { authorization: `Bearer ${key}` }), "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${verb} ${route}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}
async function deliver(event) {
  const body = JSON.stringify(event);
  const time = Math.floor(Date.now() / 1000);
  const mac = createHmac("sha256", SECRET).update(`${time}.${body}`).digest("hex");
  const answer = await fetch(at("/webhook"), { method: "POST", headers: { "stripe-signature": `t=${time},v1=${mac}` }, body });
  check(`the delivery of ${event.id} is taken`, answer.status === 200, answer.status);
}

/** A tenant with a name that would break a page that escapes nothing, and its owner, let in by the mail. */
async function furnish() {
  await api("POST", "tenants", { tenantId: "umbra", name: HOSTILE, metadata: { note: HOSTILE } });
  await api("POST", "members", { tenantId: "umbra", email: OWNER.email, role: "owner" });
  const until = Date.now() + 15_000;
  for (;;) {
    const mails = !existsSync(MAILS) ? [] : readdirSync(MAILS, { withFileTypes: true }).filter((one) => one.name.endsWith(".eml"));
    const texts = mails.map((one) => readFileSync(path.join(MAILS, one.name), "utf8").replace(/=\r?\n/g, "").replace(/=3D/g, "="));
    const token = texts.map((text) => /invitations\/accept\?token=([A-Za-z0-9_.-]+)/.exec(text)?.[1]).find(Boolean);
    if (token) {
      await api("POST", "invitations/accept", { token, password: OWNER.password, name: "Olive" }, null);
      return;
    }
    if (Date.now() > until) throw new Error("no invitation came");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Presses Tab until the focus is on what is wanted; every stop on the way must be seen. */
async function reach(page, wanted) {
  const limit = 80;
  for (let count = 0; count < limit; count += 1) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const at = document.activeElement;
      return at.getAttribute("aria-label") || at.name || at.textContent.trim();
    });
    const seen = await page.evaluate(() => {
      const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    });
    check(`the focus on ${name} is seen`, seen, page.url());
    if (wanted instanceof RegExp ? wanted.test(name) : name === wanted) return;
  }
  check(`${wanted} is reached by keyboard`, false, page.url());
}
async function follow(page, wanted) {
  await reach(page, wanted);
  await enter(page);
}

async function signsIn(page) {
  const first = await page.goto(at("/console/payments"));
  check("without a session the way leads to the sign-in", page.url().includes("/console/login?next="), page.url());
  const policy = first.headers()["content-security-policy"] ?? "";
  check("nothing may be loaded from elsewhere", policy.startsWith("default-src 'none'") && policy.includes("form-action 'self'"), policy);
  check("the page has no script", !(await first.text()).includes("<script"), page.url());
  await press(page, "Tab", "Skip to the content");
  await reach(page, "email");
  await page.keyboard.type(OWNER.email);
  await reach(page, "password");
  await page.keyboard.type("not the password");
  await enter(page);
  await says(page, "#error", "wrong");
  check("the title says so first", (await page.title()).startsWith("Error"), await page.title());
  await reach(page, "password");
  await page.keyboard.type(OWNER.password);
  await enter(page);
  check("the way goes on to the page that was asked for", page.url() === at("/console/payments"), page.url());
  await says(page, "main", "No payment yet");
  check("the owner sees no page of the operator", (await page.getByRole("link", { name: "Audit" }).count()) === 0, page.url());
}

async function sellsAndRefunds(page) {
  await follow(page, "Overview");
  await says(page, "main", "Nothing needs you");
  check("a hostile name stays text", (await page.locator("#hostile").count()) === 0, await page.content());
  await says(page, "main", "<b id=hostile>");
  await follow(page, "Open a checkout");
  await follow(page, "Go to the payment page");
  check("the payment page is Stripe's", page.url().startsWith(SANDBOX), page.url());
  await press(page, "Tab", "radio 4242");
  await page.keyboard.press("Enter"); // submits, as in every form
  await page.waitForURL("**/console/sold**");
  await says(page, "h1", "Sold");
  check("the owner is still signed in after Stripe's page", (await page.getByText(OWNER.email).count()) > 0, page.url());
  await bursar("the tenant is active", "tenants/umbra", { status: "active", "license.state": "active" });
  // The payment of a subscription is linked once its invoice was read.
  const until = Date.now() + 15_000;
  do {
    await page.goto(at("/console/payments"));
  } while (!(await page.locator("tbody tr").count()) && Date.now() < until);
  await says(page, "tbody tr", "29.00 USD");
  const id = (await page.locator("tbody tr th").first().innerText()).trim();
  await follow(page, id);
  await says(page, "h1", "29.00 USD");
  await reach(page, "amount");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("5.50");
  await follow(page, "Refund…");
  await says(page, "main", "5.50 USD of 29.00 USD go back; 23.50 USD stay");
  await follow(page, "Refund 5.50 USD");
  await says(page, "[role=status]", "The refund is made");
  await bursar("the refund is there", `payments/${id}`, { amountRefunded: 550, status: "succeeded" });
  await sendsTwice(page, id);
  await page.goto(at(`/console/payments/${id}/refund?amount=99`));
  await says(page, "[role=alert]", "21.00 USD is left");
  return id;
}
/** Sends one form of a refund twice at the same time, and once more. */
async function sendsTwice(page, id) {
  await page.goto(at(`/console/payments/${id}/refund?amount=2.50`));
  const body = await page.evaluate(() => [...document.querySelectorAll("main form input")].map((one) => [one.name, one.value]));
  const cookies = await page.context().cookies();
  const send = () => fetch(at(`/console/payments/${id}/refund`), {
    method: "POST", redirect: "manual", body: new URLSearchParams(body),
    headers: { cookie: cookies.map((one) => `${one.name}=${one.value}`).join("; "), origin: BURSAR },
  });
  const answers = [...(await Promise.all([send(), send()])), await send()].map((one) => one.status);
  check("a form that is sent again is answered", answers.every((one) => one === 303 || one === 409), answers);
  await bursar("one form counts once", `payments/${id}`, { amountRefunded: 800 });
}

async function operates(page) {
  await page.goto(at("/console/login"));
  await reach(page, "operatorKey");
  await page.keyboard.type("not-the-key-of-the-operator-0123456789");
  await enter(page);
  await says(page, "#error", "unknown");
  await reach(page, "operatorKey");
  await page.keyboard.type(OPERATOR);
  await enter(page);
  check("the key is in no address", !page.url().includes(OPERATOR), page.url());
  await says(page, "h2", "Dead letters");
  await follow(page, /^Look at Dead letters/);
  await says(page, "h1", "Dead letters");
  await page.goto(at("/console/events/evt_console_dead"));
  await says(page, "main", "Stripe was told 200");
  check("the body is masked", !(await page.content()).includes("secret-person"), "an address in the body");
  await follow(page, "Replay: say first what it would do");
  await says(page, "h1", "what it would do");
  await says(page, "main", "would change nothing");
  await page.goto(at("/console/events/evt_console_dead"));
  await reach(page, "reason");
  await page.keyboard.type("a test's own");
  await enter(page);
  await says(page, "[role=status]", "set aside");
  await page.goto(at("/console/events?status=applied&types=invoice.paid"));
  await follow(page, "Replay all that fit the filter: say first what it would do");
  await says(page, "h1", "what it would do");

  await page.goto(at("/console/endpoints"));
  await reach(page, "url");
  await page.keyboard.type("https://app.example.com/hook");
  await enter(page);
  const made = await page.locator(".secret").innerText();
  check("a new endpoint shows its secret", made.startsWith("whsec_"), made);
  await follow(page, "I have kept it");
  await says(page, "h1", "https://app.example.com/hook");
  await follow(page, "Rotate the secret");
  const rotated = await page.locator(".secret").innerText();
  check("the secret is another one", rotated.startsWith("whsec_") && rotated !== made, rotated);
  await page.reload().catch(() => {});
  await says(page, "h1", "shown once");

  await page.goto(at("/console/keys?tenantId=umbra"));
  await reach(page, "name");
  await page.keyboard.type("the backend");
  await enter(page);
  const key = await page.locator(".secret").innerText();
  const asked = await fetch(at("/api/v1/tenants/umbra"), { headers: { authorization: `Bearer ${key}` } });
  check("the new key works", asked.status === 200, asked.status);
  await follow(page, "I have kept it");
  await follow(page, "Revoke the backend");
  await says(page, "[role=status]", "revoked");
  const after = await fetch(at("/api/v1/tenants/umbra"), { headers: { authorization: `Bearer ${key}` } });
  check("the revoked key does not", after.status === 401, after.status);
  await page.goto(at("/console/audit"));
  await says(page, "main", "session.began");
}

/** What an older version's defect made dead letters of (defect.mjs) is replayed: said first, then done, and it counts. */
async function replaysWhatWasMended(page) {
  await page.goto(at("/console/events?status=dead&types=payment_intent.succeeded,payment_intent.created,charge.succeeded"));
  const letters = page.locator("tbody tr", { hasText: "panic" });
  const dead = await letters.count();
  check("the dead letters of the defect are there", dead > 0, await page.locator("main").innerText());
  await follow(page, "Replay all that fit the filter: say first what it would do");
  await says(page, "h1", "what it would do");
  await says(page, "main", "payment_intent.succeeded");
  check("a dry run changes nothing", (await paidBy("vesper")).length === 0, await paidBy("vesper"));
  const button = (await page.getByRole("button", { name: /^Replay/ }).innerText()).trim();
  check("what would be replayed is what can be used by now", button === `Replay ${dead} now`, button);
  await follow(page, button);
  await says(page, "[role=status]", `${dead} of ${dead + 1} are being applied again`);
  const until = Date.now() + 15_000;
  while (!(await paidBy("vesper")).length && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 100));
  const [paid] = await paidBy("vesper");
  check("what was replayed counts", paid?.amountCaptured === 13_000, paid);
  await follow(page, "See what became of it");
  check("no letter of the defect is dead", (await letters.count()) === 0, await page.locator("main").innerText());
  await page.goto(at("/console/events?status=dead"));
  await says(page, "tbody tr", "evt_console_dead2");
  check("what cannot be used is dead still", (await page.locator("tbody tr").count()) === 1, await page.locator("main").innerText());
  await page.goto(at("/console/payments?tenantId=vesper"));
  await says(page, "tbody tr", "130.00 USD");
  replayed = dead;
}
async function paidBy(tenant) {
  return (await api("GET", `payments?tenantId=${tenant}`)).data.filter((one) => one.status === "succeeded");
}

/** Every page there is: its name and how to get there. */
function everyPage(payment) {
  const open = (route) => (page) => page.goto(at(route));
  const posts = (route, name) => async (page) => {
    await page.goto(at(route));
    await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name }).first().click()]);
  };
  return {
    "console overview": open("/console"),
    "console overview of a tenant": open("/console?tenantId=umbra"),
    "console tenants": open("/console/tenants"),
    "console tenant": open("/console/tenants/umbra"),
    "console explain": open(`/console/explain?id=${payment}&all=1`),
    "console explain nothing": open("/console/explain"),
    "console payments": open("/console/payments"),
    "console payments none": open("/console/payments?status=canceled"),
    "console payment": open(`/console/payments/${payment}`),
    "console refund": open(`/console/payments/${payment}/refund?amount=1`),
    "console refund too much": open(`/console/payments/${payment}/refund?amount=1000`),
    "console events": open("/console/events"),
    "console dead letters": open("/console/events?status=dead"),
    "console parked": open("/console/events?status=parked"),
    "console event": open("/console/events/evt_console_dead2"),
    "console replay": posts("/console/events/evt_console_dead2", /Replay/),
    "console unclaimed": open("/console/unclaimed"),
    "console outbox": open("/console/outbox"),
    "console endpoints": open("/console/endpoints"),
    "console endpoint": async (page) => {
      await page.goto(at("/console/endpoints"));
      await page.goto(await page.locator("tbody th a").first().evaluate((one) => one.href));
    },
    "console circuits": open("/console/circuits"),
    "console traffic": open("/console/traffic"),
    "console reconcile": posts("/console/reconcile", "Compare now"),
    "console keys": open("/console/keys?tenantId=umbra"),
    "console members": open("/console/members?tenantId=umbra"),
    "console audit": open("/console/audit"),
    "console setup": open("/console/setup"),
    "console secret": async (page) => {
      await page.goto(at("/console/keys?tenantId=umbra"));
      await page.getByLabel("What it is for").first().fill("a program");
      await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: /^Make it/ }).first().click()]);
    },
    "console checkout": async (page) => {
      await page.goto(at("/console?tenantId=umbra"));
      await page.locator("select[name=planId]").selectOption("credits-10");
      await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: "Open a checkout" }).click()]);
    },
    "console checkout left": open("/console/sold?canceled=true&tenantId=umbra"),
    "console not found": open("/console/payments/pi_nothing"),
  };
}
const unsigned = {
  "mail: confirm": (page) => page.goto(at("/verify-email?token=of-nobody")),
  "mail: code": (page) => page.goto(at("/verify-email-code?email=ada@example.com")),
  "mail: new password": (page) => page.goto(at("/password/reset?token=of-nobody")),
  "mail: invitation": (page) => page.goto(at("/invitations/accept?token=of-nobody")),
  "mail: refused": async (page) => {
    await page.goto(at("/verify-email?token=of-nobody"));
    await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: "Confirm" }).click()]);
  },
  "console sign-in": (page) => page.goto(at("/console/login")),
  "console sign-in refused": async (page) => {
    await page.goto(at("/console/login"));
    await page.getByLabel("Operator’s key").fill("not-the-key-of-the-operator-0123456789");
    await Promise.all([page.waitForEvent("load"), page.getByRole("button", { name: "Sign in as operator" }).click()]);
  },
};

await furnish();
const page = await visitor({ javaScriptEnabled: false });
await signsIn(page);
const payment = await sellsAndRefunds(page);
await page.goto(at("/console"));
await page.getByRole("button", { name: "Sign out" }).focus();
await enter(page);
await says(page, "[role=status]", "signed out");
await page.goto(at("/console"));
check("after signing out there is no way in", page.url().includes("/console/login"), page.url());

for (const id of ["evt_console_dead", "evt_console_dead2"]) {
  await deliver({
    id, object: "event", type: "payment_intent.succeeded", api_version: "2025-04-30.basil", created: Math.floor(Date.now() / 1000),
    livemode: true, data: { object: { id: "pi_live", object: "payment_intent", receipt_email: "secret-person@example.com" } },
  });
}
const operator = await visitor({ javaScriptEnabled: false });
await operates(operator);
await replaysWhatWasMended(operator);
const pages = everyPage(payment);
await inspect(pages, await operator.context().storageState());
await inspect(unsigned);
check("nothing came from another host", outside.size === 0, [...outside]);
check("no script was asked for", scripts.size === 0, [...scripts]);
console.log(`ran console in chromium ${browser.version()}: pages=${Object.keys(pages).length + Object.keys(unsigned).length} ` +
  `axe_looks=${looks} axe_violations=${violations} steps=${steps} replayed=${replayed} failed=${failed} outside_hosts=${outside.size}`);
await browser.close();
process.exit(failed ? 1 : 0);
