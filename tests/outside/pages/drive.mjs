// Uses the sandbox's pages in a browser: by keyboard and without scripts first, then under axe-core's eyes.
// Started by run.sh, which says in the environment where everything is. Exits 1 when a check failed.
import {
  BURSAR, CREDITS, PRO, SANDBOX, browser, bursar, check, control, enter, failed, focused, inspect, looks, outside, press,
  says, scripts, session, steps, stripe, violations, visitor,
} from "./kit.mjs";

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
