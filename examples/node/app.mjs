// A product of one feature: sells a plan, hears what became of it, lets in who paid.
//   BURSAR_URL, BURSAR_KEY (a service key: billing, tenants:write), BURSAR_NOTIFICATION_SECRET, PLAN, PORT
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const { BURSAR_URL, BURSAR_KEY, BURSAR_NOTIFICATION_SECRET, PLAN = "hobby", PORT = "3000" } = process.env;
const webhook = new Webhook(BURSAR_NOTIFICATION_SECRET);
const tenants = new Map(); // what Bursar said last of each tenant; keep it in your database

async function bursar(path, body) {
  const headers = { authorization: `Bearer ${BURSAR_KEY}`, "content-type": "application/json" };
  const answer = await fetch(BURSAR_URL + path, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}
async function buy(tenantId) {
  await bursar("/api/v1/tenants", { tenantId, name: tenantId });
  return bursar("/api/v1/checkout-sessions", { tenantId, planId: PLAN }); // send the visitor to its `sessionUrl`
}
function hear(event) {
  const { tenantId, version, tenant, test } = event.data;
  if (test || (tenants.get(tenantId)?.version ?? 0) > version) return; // older than what we have
  tenants.set(tenantId, tenant);
}
function mayUse(tenantId, feature) {
  const license = tenants.get(tenantId)?.license;
  return ["active", "grace"].includes(license?.state) && license.features.includes(feature);
}

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const end = (status, value) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  const [, what, tenantId] = request.url.split("/");
  try {
    if (what === "buy") return end(200, await buy(tenantId));
    if (what === "report") return mayUse(tenantId, "reports") ? end(200, { report: 42 }) : end(402, { error: "buy a plan" });
    if (what !== "notifications") return end(404, {});
  } catch (error) { return end(502, { error: String(error) }); }
  try { hear(webhook.verify(body, request.headers)); } catch { return end(401, { error: "not genuine" }); }
  end(200, {});
}).listen(Number(PORT), "127.0.0.1");
