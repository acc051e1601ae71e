"""Drives the two example applications and verifies every notification with the official packages.

  drive.py SANDBOX_URL BURSAR_URL WEBHOOK_SECRET OPERATOR_KEY EXAMPLE_PY NODE_FOLDER WORK

With `demo` as the secret the applications are sold against a running `bursar demo`, which has told its sandbox where to
deliver; nothing is recorded then. Exits 1 when a check does not hold; prints figures.
"""
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from standardwebhooks import Webhook

SANDBOX, BURSAR, SECRET, OPERATOR, EXAMPLE, NODE, WORK = sys.argv[1:8]
PATIENCE_SECONDS = 30


def call(url, body=None, key=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    request.method = method or ("GET" if data is None else "POST")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def good(url, body=None, key=None):
    status, answer = call(url, body, key)
    assert 200 <= status < 300, (url, status, answer)
    return answer


def bursar(path, body=None):
    return good(BURSAR + path, body, OPERATOR)


def until(what, is_so):
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() >= end:
            for path in ("notification-endpoints", "notifications", "webhook-events", "tenants"):
                print(path, json.dumps(bursar(f"/api/v1/{path}?limit=5"))[:2000])
            for one in bursar("/api/v1/notification-endpoints")["data"]:
                print(bursar(f"/api/v1/notification-endpoints/{one['id']}/deliveries?limit=3"))
            raise AssertionError(f"it never came to this: {what}")
        time.sleep(0.05)


class Recorder(http.server.BaseHTTPRequestHandler):
    came = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.came.append((headers, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def endpoint(port):
    made = bursar("/api/v1/notification-endpoints", {"url": f"http://127.0.0.1:{port}/notifications"})
    return made["id"], made["secret"]


def pays(session):
    good(f"{SANDBOX}/control/pay", {"session": session, "card": "4242"})


def sells(name, command, folder):
    """An example application from the offer to the end of the licence."""
    port = free_port()
    _, secret = endpoint(port)
    key = bursar("/api/v1/service-keys", {"name": name, "scopes": ["tenants:write", "billing"]})["key"]
    env = {"PATH": os.environ["PATH"], "BURSAR_URL": BURSAR, "BURSAR_KEY": key, "PORT": str(port),
           "BURSAR_NOTIFICATION_SECRET": secret, "PLAN": "hobby"}
    app = subprocess.Popen(command, env=env, cwd=folder)
    try:
        url, tenant = f"http://127.0.0.1:{port}", f"of-{name}"

        def is_up():
            try:
                return call(f"{url}/report/{tenant}")[0] == 402
            except OSError:
                return False
        until(f"{name} is up and lets nobody in", is_up)
        page = good(f"{url}/buy/{tenant}", {})
        assert page["sessionUrl"].startswith("http"), page
        pays(page["sessionId"])
        until(f"{name} opens the feature", lambda: call(f"{url}/report/{tenant}")[0] == 200)
        subscription = bursar(f"/api/v1/tenants/{tenant}")["subscription"]["id"]
        bursar(f"/api/v1/billing/subscriptions/{subscription}/cancel", {"tenantId": tenant, "atPeriodEnd": False})
        until(f"{name} closes the feature", lambda: call(f"{url}/report/{tenant}")[0] == 402)
        forged = {"type": "license.restored", "data": {"tenantId": tenant, "version": 10**9,
                  "tenant": {"version": 10**9, "license": {"state": "active", "features": ["reports"]}}}}
        assert call(f"{url}/notifications", forged)[0] == 401, "a forged notification was taken"
        assert call(f"{url}/report/{tenant}")[0] == 402
    finally:
        app.terminate()
        app.wait(10)
    print(f"{name}: sold, opened, closed; a forged notification refused")


def at_the_demo():
    sells("demo-python", [sys.executable, EXAMPLE], WORK)
    sells("demo-node", ["node", "app.mjs"], NODE)
    for tenant in ("of-demo-python", "of-demo-node"):
        # Both heard of it, and so did the demo's own little application.
        assert bursar(f"/api/v1/tenants/{tenant}")["license"]["state"] == "revoked", tenant
    print("examples_at_the_demo=2")
    return 0


def main():
    if SECRET == "demo":
        return at_the_demo()
    good(f"{SANDBOX}/control/webhook", {"url": f"{BURSAR}/webhook", "secrets": SECRET})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    recorder, first = endpoint(server.server_address[1])
    sells("python", [sys.executable, EXAMPLE], WORK)
    rotate = f"/api/v1/notification-endpoints/{recorder}/rotate-secret"

    def settled():
        """Until the recorder has all of the feed; answers how many that are."""
        def is_so():
            feed, after = 0, ""
            while True:
                page = bursar(f"/api/v1/notifications?limit=100{after}")
                feed += len(page["data"])
                if not page["hasMore"]:
                    break
                after = f"&after={page['nextCursor']}"
            waiting = bursar("/api/v1/outbox?lane=notify&status=pending&limit=1")["data"]
            return not waiting and len({h["webhook-id"] for h, _ in Recorder.came}) == feed
        until("the recorder has everything", is_so)
        return len(Recorder.came)

    before = settled()
    second = bursar(rotate, {"overlapHours": 24})["secret"]
    sells("node", ["node", "app.mjs"], NODE)
    during = settled()
    third = bursar(rotate, {"overlapHours": 0})["secret"]
    good(f"{BURSAR}/api/v1/notification-endpoints/{recorder}/test", {}, OPERATOR)
    bursar("/api/v1/tenants", {"tenantId": "late", "name": "late"})
    settled_late = lambda: any('"tenantId":"late"' in body for _, body in Recorder.came)
    until("the last one", settled_late)

    lines = []
    for number, (headers, body) in enumerate(Recorder.came):
        if number < before:
            valid, invalid = [first], [second, third]
        elif number < during:
            valid, invalid = [first, second], [third]
        else:
            # The first still has its 24 hours; the second was ended at once.
            valid, invalid = [first, third], [second]
        lines += [dict(secret=one, headers=headers, body=body, genuine=True) for one in valid]
        lines += [dict(secret=one, headers=headers, body=body, genuine=False) for one in invalid]
        altered = dict(headers, **{"webhook-id": headers["webhook-id"] + "x"})
        late = dict(headers, **{"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)})
        lines.append(dict(secret=valid[-1], headers=altered, body=body, genuine=False))
        lines.append(dict(secret=valid[-1], headers=late, body=body, genuine=False))
        lines.append(dict(secret=valid[-1], headers=headers, body=body + " ", genuine=False))
    verified = refused = wrong = 0
    for line in lines:
        try:
            Webhook(line["secret"]).verify(line["body"], line["headers"])
            fits = True
        except Exception:
            fits = False
        wrong += fits != line["genuine"]
        verified += fits and line["genuine"]
        refused += not fits and not line["genuine"]
    print(f"pypi: verified={verified} refused={refused} wrong={wrong}")
    recorded = pathlib.Path(WORK, "recorded.jsonl")
    recorded.write_text("".join(json.dumps(line) + "\n" for line in lines))
    npm = subprocess.run(["node", "verify.mjs", str(recorded)], cwd=NODE, check=False)
    print(f"notifications={len(Recorder.came)} before={before} during_rotation={during - before}")
    return 0 if wrong == 0 and npm.returncode == 0 and verified > 0 else 1


sys.exit(main())
