"""Writes the licences of every crate that is part of the program: name, version, licence, and its own texts."""

import json
import subprocess
import sys
from pathlib import Path

meta = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"],
        capture_output=True, check=True, text=True,
    ).stdout
)
packages = {p["id"]: p for p in meta["packages"]}
nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
# What is linked in: normal dependencies, from the program on. Those of tests and build scripts are not shipped.
seen, waiting = set(), [meta["resolve"]["root"]]
while waiting:
    node = waiting.pop()
    if node in seen:
        continue
    seen.add(node)
    for dep in nodes[node]["deps"]:
        if any(kind["kind"] is None for kind in dep["dep_kinds"]):
            waiting.append(dep["pkg"])
texts = {}
foreign = sorted((packages[i] for i in seen if packages[i]["source"]), key=lambda p: (p["name"], p["version"]))
print("Bursar contains the work of others. Their licences:\n")
for package in foreign:
    print(f"{package['name']} {package['version']}: {package['license'] or package['license_file']}")
    folder = Path(package["manifest_path"]).parent
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")):
            text = file.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(f"{package['name']} {package['version']} ({file.name})")
for text, of in sorted(texts.items(), key=lambda item: item[1]):
    print("\n" + "-" * 100 + "\n" + "\n".join(of) + "\n\n" + text)
print(f"crates={len(foreign)} texts={len(texts)}", file=sys.stderr)
