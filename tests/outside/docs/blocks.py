"""Runs the ```sh blocks of the documents against a demo.

blocks.py ROOT BINARY WORK     WORK/demo.log is the demo's banner, WORK/demo its data.

Addresses of the defaults are replaced by the demo's; KEY, TENANT and SESSION are set as a reader would have set them.
"""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

root, binary, work = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
banner = (work / "demo.log").read_text()
SECONDS_MAX = 30


def said(pattern):
    return re.search(pattern, banner).group(1)


public = said(r"webhooks in +http://([0-9.:]+)/webhook")
addresses = {
    "127.0.0.1:8087": public,
    "localhost:8087": public,
    "127.0.0.1:9187": said(r"metrics +http://([0-9.:]+)/metrics"),
    "127.0.0.1:12111": said(r"sandbox +http://([0-9.:]+)"),
}
key = said(r"operator key +(\S+)")


def ask(path):
    request = urllib.request.Request(f"http://{public}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


session = ask("/api/v1/checkout-sessions?limit=1&tenantId=acme")["data"][0]["id"]
programs = work / "programs"
programs.mkdir()
(programs / "bursar").symlink_to(binary)
environment = {
    "PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(work), "LC_ALL": "C.UTF-8",
    "KEY": key, "TENANT": "acme", "SESSION": session, "BURSAR_STORE": f"sled:{work}/demo",
}
fence = re.compile(r"(?P<note><!-- not run[^>]*-->\n)?```sh\n(?P<body>.*?)```", re.S)
pages = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "packaging").rglob("*.md"))]
ran = left = lines = 0
wrong = []
for page in pages:
    name = page.relative_to(root)
    folder = work / "pages" / str(name).replace("/", "-")
    folder.mkdir(parents=True)
    for block in fence.finditer(page.read_text()):
        if block["note"]:
            left += 1
            continue
        body = block["body"]
        for default, real in addresses.items():
            body = body.replace(default, real)
        body = body.replace("cargo run -- ", "bursar ").replace("cargo run --release -- ", "bursar ")
        # A refusal of the server must not look like an answer.
        body = body.replace("curl ", "curl --fail-with-body ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", body], cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX,
        )
        ran += 1
        lines += len([line for line in body.splitlines() if line.strip() and not line.startswith("#")])
        if done.returncode != 0:
            wrong.append(f"{name}: exit {done.returncode}\n{body}{done.stdout[-800:]}{done.stderr[-800:]}")
for text in wrong:
    print(f"wrong: {text}")
print(f"ran docs: pages={len(pages)} blocks={ran} lines={lines} not_run={left} wrong={len(wrong)}")
sys.exit(bool(wrong) or ran < 12)
