"""Lets Bursar send every mail to aiosmtpd and reads what came with Python's email package.

  python drive.py BINARY FOLDER   (exits 1 on the first failed check; prints the figures)
"""
import collections
import email
import email.policy
import os
import socket
import subprocess
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

BINARY, FOLDER = sys.argv[1], sys.argv[2]
checks = failed = 0


def check(what, condition, seen=None):
    global checks, failed
    checks += 1
    if not condition:
        failed += 1
        print(f"FAILED: {what}: {seen!r}")


class Sink:
    def __init__(self):
        self.envelopes = []

    async def handle_DATA(self, server, session, envelope):
        self.envelopes.append(envelope)
        return "250 taken"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def send(port, login):
    environment = {
        "PATH": os.environ["PATH"], "BURSAR_LISTEN": "127.0.0.1:9", "BURSAR_METRICS_LISTEN": "127.0.0.1:10",
        "BURSAR_STORE": f"sled:{FOLDER}/none", "BURSAR_ADMIN_KEY": "outside-operator-key-0123456789abcdef",
        "BURSAR_JWT_SECRET": "outside-token-secret-0123456789abcdef", "APP_BASE_URL": "http://127.0.0.1:9",
        "STRIPE_API_KEY": "sk_test_outside_bursar", "STRIPE_API_BASE": "http://127.0.0.1:9",
        "STRIPE_WEBHOOK_SECRET": "whsec_outside_0123456789abcdefghij", "MAIL_TRANSPORT": "smtp",
        "SMTP_URL": f"smtp://{login}127.0.0.1:{port}", "MAIL_FROM": "B\u00fcro Example <billing@example.com>",
        "BRAND_NAME": "Ex\u00e4mple", "SUPPORT_EMAIL": "help@example.com",
    }
    ran = subprocess.run([BINARY, "doctor", "--no-event", "--mail-to", "ada@example.com"], env=environment,
                         capture_output=True, text=True, timeout=50)
    line = [line for line in ran.stdout.splitlines() if "samples left by smtp" in line]
    check("the doctor says that all left", len(line) == 1, ran.stdout + ran.stderr)
    return int(line[0].split("samples")[0].split()[-1]) if line else 0


def read(sink, expected):
    ids = collections.Counter()
    for envelope in sink.envelopes:
        check("one recipient, ours", envelope.rcpt_tos == ["ada@example.com"], envelope.rcpt_tos)
        check("the sender's address", envelope.mail_from == "billing@example.com", envelope.mail_from)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        check("no defect", not message.defects, message.defects)
        ids[message["Message-ID"]] += 1
        subject = message["Subject"]
        check("a subject, decoded", subject and "=?" not in subject and "{{" not in subject, subject)
        check("the sender's name", message["From"].addresses[0].display_name == "B\u00fcro Example", message["From"])
        check("made by a machine", message["Auto-Submitted"] == "auto-generated")
        check("a date", message["Date"].datetime is not None, message["Date"])
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        check("both parts", text is not None and html is not None, subject)
        if text is None or html is None:
            continue
        text, html = text.get_content(), html.get_content()
        check("both parts are signed", "\u00e4mple" in text and "\u00e4mple" in html, subject)
        check("no leftovers", not any(left in text + html for left in ("{{", "{%", "undefined")), text)
        check("a whole page", html.strip().endswith("</html>"), html[-40:])
    check("every text came", len(sink.envelopes) == expected > 20, len(sink.envelopes))
    check("one message per Message-ID", set(ids.values()) == {1}, ids.most_common(2))
    return len(ids)


def main():
    total = 0
    for login in ("", "user:p%40ss@"):
        sink = Sink()
        more = {}
        if login:
            def authenticate(server, session, envelope, mechanism, data):
                check("the password as it was meant", data.password == b"p@ss", data)
                return AuthResult(success=True)
            more = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
        port = free_port()
        controller = Controller(sink, hostname="127.0.0.1", port=port, **more)
        controller.start()
        try:
            total += read(sink, send(port, login))
        finally:
            controller.stop()
    print(f"ran aiosmtpd 1.4.6: mails={total} checks={checks} failed={failed}")
    sys.exit(1 if failed else 0)


main()
