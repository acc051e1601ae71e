"""A product of one feature: sells a plan, hears what became of it, lets in who paid.
   BURSAR_URL, BURSAR_KEY (a service key: billing, tenants:write), BURSAR_NOTIFICATION_SECRET, PLAN, PORT"""
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook

webhook = Webhook(os.environ["BURSAR_NOTIFICATION_SECRET"])
tenants = {}  # what Bursar said last of each tenant; keep it in your database


def bursar(path, body):
    headers = {"Authorization": f"Bearer {os.environ['BURSAR_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["BURSAR_URL"] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def buy(tenant):
    bursar("/api/v1/tenants", {"tenantId": tenant, "name": tenant})
    plan = os.environ.get("PLAN", "hobby")
    return bursar("/api/v1/checkout-sessions", {"tenantId": tenant, "planId": plan})  # send the visitor to its `sessionUrl`


def hear(event):
    data = event["data"]
    known = tenants.get(data["tenantId"], {"version": 0})
    if not data.get("test") and data["version"] >= known["version"]:  # else older than what we have
        tenants[data["tenantId"]] = data["tenant"]


def may_use(tenant, feature):
    licence = tenants.get(tenant, {}).get("license", {"state": "none", "features": []})
    return licence["state"] in ("active", "grace") and feature in licence["features"]


class App(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what, tenant = (self.path.split("/") + ["", ""])[1:3]
        if what == "buy":
            return self.end(200, buy(tenant))
        try:
            hear(webhook.verify(body, {name.lower(): value for name, value in self.headers.items()}))
        except Exception:
            return self.end(401, {"error": "not genuine"})
        self.end(200, {})

    def do_GET(self):
        allowed = may_use(self.path.split("/")[-1], "reports")
        self.end(200 if allowed else 402, {"report": 42} if allowed else {"error": "buy a plan"})

    def end(self, status, value):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), App).serve_forever()
