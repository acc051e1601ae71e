"""Receives what Bursar sends to an OpenTelemetry collector, and reads it with OpenTelemetry's own classes.

  python drive.py BINARY FOLDER   (exits 1 when a check failed; prints the figures)
"""
import collections
import contextlib
import http.client
import http.server
import importlib.metadata
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest, ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

BINARY, FOLDER = sys.argv[1], sys.argv[2]
ROUNDS = 12
# More than the batches and the queue of a service that may keep so few.
FLOOD = 200
WAIT_S_MAX = 20
OPERATOR = "outside-operator-key-0123456789abcdef"
# What a span must not hold: credentials of ours, and what callers send in addresses, headers and bodies.
CANARIES = {
    "operator key": OPERATOR, "token secret": "outside-token-secret-0123456789abcdef",
    "Stripe's key": "sk_test_outside_otel_canary", "webhook secret": "whsec_outside_0123456789abcdefghij",
    "token in an address": "token-canary-7f3a", "password": "password-canary-91bc", "person": "canary-person@example.com",
    "tenant": "canary-tenant", "idempotency key": "idempotency-canary", "cookie": "cookie-canary",
    "signature": "signature-canary", "event": "evt_canary_body",
}
checks = failed = 0
raw_bytes = requests = 0


def check(what, condition, seen=None):
    global checks, failed
    checks += 1
    if not condition:
        failed += 1
        print(f"FAILED: {what}: {seen!r}")


class Receiver(http.server.ThreadingHTTPServer):
    """Takes spans; `mood` makes it one that fails or never answers."""
    daemon_threads = True

    def __init__(self, mood="well"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mood, self.spans, self.bodies, self.calls = mood, [], [], 0
        self.let_go = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def has(self, count):
        """Waits until so many spans are there."""
        until = time.monotonic() + WAIT_S_MAX
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.05)
        return list(self.spans)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        receiver = self.server
        receiver.calls += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        if receiver.mood == "hung":
            receiver.let_go.wait()
            return
        if receiver.mood == "failing":
            self.send_error(503)
            return
        check("spans are posted to the path of the specification", self.path == "/v1/traces", self.path)
        check("spans are protobuf", self.headers["content-type"] == "application/x-protobuf", self.headers["content-type"])
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            attributes = plain(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                receiver.spans += [(attributes, span) for span in of_scope.spans]
        receiver.bodies.append(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Between(http.server.ThreadingHTTPServer):
    """Stands between Bursar and the sandbox, and keeps what reads say of their trace: path -> `traceparent`."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Passing)
        self.read = {}
        self.sandbox = subprocess.Popen([BINARY, "sandbox", "--listen", "127.0.0.1:0", "--with-plans"],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.sandbox.stdout:
            if found := re.search(r"Stripe API\s+http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found.group(1))
            if found := re.search(r"price\s+pro\s+(\S+)", line):
                self.price = found.group(1)
                break
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Passing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.read[self.path.partition("?")[0]] = self.headers.get("traceparent")
        self.passed()

    def do_POST(self):
        self.passed()

    def passed(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=WAIT_S_MAX)
        with contextlib.closing(connection):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name != "host"}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bursar:
    def __init__(self, **more):
        self.log = open(f"{FOLDER}/bursar.log", "ab+")
        environment = {
            "PATH": os.environ["PATH"], "BURSAR_LISTEN": "127.0.0.1:0", "BURSAR_METRICS_LISTEN": "127.0.0.1:0",
            "BURSAR_STORE": f"sled:{FOLDER}/data-{secrets.token_hex(4)}", "BURSAR_ADMIN_KEY": OPERATOR,
            "BURSAR_JWT_SECRET": CANARIES["token secret"], "APP_BASE_URL": "http://127.0.0.1:8087",
            "STRIPE_API_KEY": CANARIES["Stripe's key"], "STRIPE_API_BASE": f"http://127.0.0.1:{free_port()}",
            "STRIPE_WEBHOOK_SECRET": CANARIES["webhook secret"], "OTEL_BSP_SCHEDULE_DELAY": "100", **more,
        }
        self.child = subprocess.Popen([BINARY, "serve"], env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = None
        for line in self.child.stdout:
            found = re.search(r"webhooks in\s+http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if self.port is None:
            sys.exit(f"FAILED: the service did not start: see its log\n{open(self.log.name).read()}")
        threading.Thread(target=self.child.stdout.read, daemon=True).start()

    def ask(self, verb, path, headers=None, body=None):
        """Status and request id of one request."""
        status, request_id, _ = self.read(verb, path, headers, body)
        return status, request_id

    def read(self, verb, path, headers=None, body=None):
        """The same with its text."""
        global requests
        requests += 1
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S_MAX)
        with contextlib.closing(connection):
            connection.request(verb, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, answer.headers["x-request-id"], text

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(timeout=60)


def every_kind(bursar, headers):
    """Requests that carry every canary, and whose spans are wanted: request id -> path."""
    operator = {**headers, "authorization": f"Bearer {OPERATOR}", "content-type": "application/json"}
    token, password, person = (CANARIES[name] for name in ("token in an address", "password", "person"))
    asked = [
        ("GET", "/livez", headers, None, [200]),
        ("GET", "/api/v1/tenants", operator, None, [200]),
        ("GET", f"/api/v1/tenants/{CANARIES['tenant']}", operator, None, [404]),
        ("GET", f"/verify-email?token={token}", {**headers, "cookie": f"session={CANARIES['cookie']}"}, None, [200]),
        ("POST", "/api/v1/login", {**headers, "content-type": "application/json"},
         f'{{"email": "{person}", "password": "{password}"}}', (401, 429)),
        ("POST", "/api/v1/members", {**operator, "idempotency-key": CANARIES["idempotency key"]},
         f'{{"tenantId": "{CANARIES["tenant"]}", "email": "{person}", "role": "owner"}}', [404]),
        ("POST", "/webhook", {**headers, "stripe-signature": f"t=1,v1={CANARIES['signature']}"},
         f'{{"id": "{CANARIES["event"]}", "object": "event"}}', [400]),
    ]
    made = {}
    for verb, path, with_headers, body, wanted in asked:
        status, request_id = bursar.ask(verb, path, with_headers, body)
        check(f"{verb} {path} is answered {wanted}", status in wanted, status)
        made[request_id] = path
    return made


def traced():
    """Every request is one span, under its caller's, and holds nothing of what it carried."""
    global raw_bytes
    receiver = Receiver()
    bursar = Bursar(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint(), OTEL_SERVICE_NAME="billing-outside",
                    OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=outside")
    parents = {}
    made = {}
    for _ in range(ROUNDS):
        trace, step = secrets.token_hex(16), secrets.token_hex(8)
        under = every_kind(bursar, {"traceparent": f"00-{trace}-{step}-01"})
        parents |= {request_id: (trace, step) for request_id in under}
        made |= under | every_kind(bursar, {})
    unsampled = every_kind(bursar, {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"})
    check("the service stops as asked", bursar.stop() == 0)
    spans = receiver.has(len(made))
    by_request = collections.defaultdict(list)
    for resource, span in spans:
        by_request[plain(span.attributes).get("request.id")].append((resource, span))
    check("every request is one span", {key: len(of) for key, of in by_request.items()} == {key: 1 for key in made},
          (len(spans), len(made)))
    check("what a caller does not trace is not sent", not unsampled.keys() & by_request.keys())
    roots = set()
    for request_id, path in made.items():
        for resource, span in by_request[request_id]:
            check("the service has the name it was given", resource.get("service.name") == "billing-outside", resource)
            check("the resource has what it was given", resource.get("deployment.environment.name") == "outside", resource)
            trace, step = parents.get(request_id, (None, ""))
            check(f"the parent of {path} is its caller's step", span.parent_span_id.hex() == step, span)
            check(f"{path} is in its caller's trace", trace in (None, span.trace_id.hex()), span)
            check("a span is a server's", span.kind == Span.SPAN_KIND_SERVER, span.kind)
            attributes = plain(span.attributes)
            check("a span is named after its route", span.name == attributes.get("route"), span.name)
            check("the log lines' trace is the span's", attributes.get("trace.id") == span.trace_id.hex(), attributes)
            if trace is None:
                roots.add(span.trace_id)
    check("without a caller's each request is a trace of its own", len(roots) == len(made) - len(parents), len(roots))
    for body in receiver.bodies:
        raw_bytes += len(body)
        for name, canary in CANARIES.items():
            check(f"no span holds the {name}", canary.encode() not in body, body[:2000])
    return len(spans), len(parents), len(roots)


def passed_on():
    """What a request reads from Stripe names the request's own span as what asked."""
    receiver, between = Receiver(), Between()
    bursar = Bursar(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint(), PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID=between.price,
                    STRIPE_API_BASE=f"http://127.0.0.1:{between.server_address[1]}")
    operator = {"authorization": f"Bearer {OPERATOR}", "content-type": "application/json"}
    bursar.ask("POST", "/api/v1/tenants", operator, '{"tenantId": "acme"}')
    status, _, text = bursar.read("POST", "/api/v1/checkout-sessions", operator, '{"tenantId": "acme", "planId": "pro"}')
    check("a checkout is opened", status == 200, text)
    session = json.loads(text).get("sessionId")
    # Half of the wait is over without news, so Stripe is looked at.
    _, request_id = bursar.ask("GET", f"/api/v1/checkout-sessions/{session}?waitSeconds=2", operator)
    check("the service stops as asked", bursar.stop() == 0)
    between.sandbox.kill()
    of_wait = [span for _, span in receiver.has(3) if plain(span.attributes).get("request.id") == request_id]
    named = [f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in of_wait]
    said = between.read.get(f"/v1/checkout/sessions/{session}")
    check("Stripe hears of the span that asked", named == [said], (named, between.read))


def named():
    """The name of the service, by the variables of the specification; how much is logged makes no difference."""
    by_attribute = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=billing-eu", "BURSAR_LOG": "error"}
    for more, name in [({}, "bursar"), (by_attribute, "billing-eu")]:
        receiver = Receiver()
        bursar = Bursar(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint(), **more)
        bursar.ask("GET", "/livez")
        spans = receiver.has(1)
        check(f"the service is {name}", [one.get("service.name") for one, _ in spans] == [name], spans)
        check("the service stops as asked", bursar.stop() == 0)


def silent():
    """Nothing is sent where the variables say so."""
    for more in [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_SAMPLER": "always_off"},
                 {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}]:
        receiver = Receiver()
        bursar = Bursar(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint(), **more)
        for _ in range(ROUNDS):
            bursar.ask("GET", "/livez")
        # What waited would be sent at the latest now.
        check("the service stops as asked", bursar.stop() == 0)
        check(f"nothing is sent with {more}", (len(receiver.spans), receiver.calls) == (0, 0), receiver.calls)


def bereft():
    """A receiver that is away, fails or hangs: the queue is full at once, every request is answered, and it stops."""
    answered = 0
    for mood in ["away", "failing", "hung"]:
        receiver = Receiver(mood)
        endpoint = receiver.endpoint()
        if mood == "away":
            receiver.shutdown()
            receiver.server_close()
        bursar = Bursar(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_MAX_QUEUE_SIZE="8",
                        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4")
        statuses = [bursar.ask("GET", "/livez")[0] for _ in range(FLOOD)]
        check(f"every request is answered with a receiver that is {mood}", statuses == [200] * FLOOD, statuses)
        answered += statuses.count(200)
        check(f"the receiver that is {mood} was tried", mood == "away" or receiver.calls > 0, receiver.calls)
        check(f"the service stops as asked with a receiver that is {mood}", bursar.stop() == 0)
        receiver.let_go.set()
    return answered


sent, children, roots = traced()
passed_on()
named()
silent()
answered = bereft()
print(f"ran opentelemetry-proto {importlib.metadata.version('opentelemetry-proto')}: requests={requests} spans={sent} "
      f"children={children} roots={roots} export_bytes={raw_bytes} looked_for={len(CANARIES)} "
      f"answered_without_receiver={answered}/{3 * FLOOD} checks={checks} failed={failed}")
sys.exit(1 if failed else 0)
