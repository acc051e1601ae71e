#!/usr/bin/env python3
"""No 200 leaves before an fdatasync: watched from outside, by strace.

Goal: each acknowledgement of a new event is preceded by a write to a journal segment and a finished
fdatasync of that file, both after the acknowledgement before it. Method: one connection sends
events one after the other to the binary under strace; the trace is read in order.
Usage: ack_after_sync.py BINARY [EVENTS]. Prints `acks=… unsynced_acks=…`; exit 1 unless 0.
"""
import hashlib, hmac, http.client, json, os, re, shutil, signal, subprocess, sys, tempfile, time

SECRET = "whsec_strace_suite_0123456789abcdef"
binary, events = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 500
if not shutil.which("strace"):
    sys.exit("strace is not installed (apt-get install strace)")
folder = tempfile.mkdtemp(prefix="bursar-strace-")
trace = os.path.join(folder, "trace")
env = {
    "PATH": os.environ["PATH"], "BURSAR_LISTEN": "127.0.0.1:0", "BURSAR_METRICS_LISTEN": "127.0.0.1:0",
    "BURSAR_STORE": f"sled:{folder}/data", "BURSAR_ADMIN_KEY": "strace-suite-operator-key-0123456789ab",
    "BURSAR_JWT_SECRET": "strace-suite-token-secret-0123456789ab", "APP_BASE_URL": "http://127.0.0.1:8087",
    "STRIPE_API_KEY": "sk_test_strace_suite_0123456789", "STRIPE_API_BASE": "http://127.0.0.1:9",
    "STRIPE_WEBHOOK_SECRET": SECRET,
}
server = subprocess.Popen(
    ["strace", "-f", "-yy", "-s", "600", "-o", trace, "-e", "trace=fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg",
     binary, "serve"], env=env, stdout=subprocess.PIPE, text=True)
port = None
for line in server.stdout:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/webhook", line)
    if found:
        port = int(found.group(1))
        break
assert port, "the banner did not name the webhook address"
link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
deadline = time.time() + 60
while True:
    link.request("GET", "/readyz")
    answer = link.getresponse()
    answer.read()
    if answer.status == 200:
        break
    assert time.time() < deadline, "not ready"
    time.sleep(0.1)
for n in range(events):
    body = json.dumps({"id": f"evt_strace_{n}", "object": "event", "api_version": "2025-04-30.basil", "created": 1747044000,
                       "livemode": False, "type": "customer.created", "pending_webhooks": 1, "request": None,
                       "data": {"object": {"id": f"cus_strace_{n}", "object": "customer", "created": 1747044000,
                                           "livemode": False, "email": None, "metadata": {}}}}).encode()
    t = int(time.time())
    v1 = hmac.new(SECRET.encode(), f"{t}.".encode() + body, hashlib.sha256).hexdigest()
    link.request("POST", "/webhook", body, {"Stripe-Signature": f"t={t},v1={v1}", "Content-Type": "application/json"})
    answer = link.getresponse()
    text = answer.read()
    assert (answer.status, json.loads(text)) == (200, {"received": True}), (answer.status, text)
link.close()
child = int(subprocess.check_output(["pgrep", "-P", str(server.pid)], text=True).split()[0])
os.kill(child, signal.SIGTERM)
server.wait(timeout=60)

# A call split over two lines counts where it ends: `resumed` for syncs, the start for writes out.
acks = unsynced = 0
written = synced = False
pending_sync = {}
# Room that is made in quiet moments is zeros and no record; the mark is a file of its own.
ROOM = re.compile(r'pwrite64\(\d+<[^>]*>, "(?:\\0)+"')
for line in open(trace, errors="replace"):
    pid = line.split(" ", 1)[0]
    is_segment = "/journal/" in line and "mark" not in line.split(">", 1)[0]
    if "pwrite64(" in line and is_segment:
        if not ROOM.search(line):
            written, synced = True, False
    elif "fdatasync(" in line and is_segment:
        if "unfinished" in line:
            pending_sync[pid] = written
        else:
            synced = written and line.rstrip().endswith("= 0")
    elif "fdatasync resumed" in line and pid in pending_sync:
        synced = pending_sync.pop(pid) and line.rstrip().endswith("= 0")
    elif '\\"received\\":true' in line and "TCP" in line:
        acks += 1
        unsynced += not (written and synced)
        written = synced = False
shutil.rmtree(folder, ignore_errors=True)
print(f"acks={acks} unsynced_acks={unsynced}")
sys.exit(0 if acks == events and unsynced == 0 else 1)
