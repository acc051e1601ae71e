// A payment taken in by a Bursar with a defect, which makes dead letters of what its reducer panics on. console.mjs replays
// them under a Bursar that has it no more. Started by run.sh.
import { OPERATOR, BURSAR, CREDITS, browser, check, control, failed, session } from "./kit.mjs";

const SETTLE_MS_MAX = 15_000;
const headers = { authorization: `Bearer ${OPERATOR}`, "content-type": "application/json" };
async function api(route, body) {
  const answer = await fetch(`${BURSAR}/api/v1/${route}`, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }) });
  return answer.json();
}

await api("tenants", { tenantId: "vesper", name: "Vesper" });
// 130.00 USD: a multiple of 13 minor units.
const { id } = await session(CREDITS, "payment", { "line_items[0][quantity]": "13", client_reference_id: "vesper" });
await control("pay", { session: id, card: "4242" });
const until = Date.now() + SETTLE_MS_MAX;
let dead = [];
let sold = {};
const isPaid = (one) => one.type === "payment_intent.succeeded";
do {
  await new Promise((resolve) => setTimeout(resolve, 100));
  dead = (await api("webhook-events?status=dead&limit=100")).data;
  sold = await api(`checkout-sessions/${id}`);
} while (!(dead.some(isPaid) && sold.status === "complete") && Date.now() < until);
check("a payment the reducer panics on is a dead letter", dead.some(isPaid), dead);
check("what is of no payment is not", sold.status === "complete" && sold.tenantId === "vesper", sold);
const payments = (await api("payments?tenantId=vesper")).data;
check("nothing of the dead letters counts", payments.every((one) => one.status !== "succeeded"), payments);
await browser.close();
process.exit(failed ? 1 : 0);
