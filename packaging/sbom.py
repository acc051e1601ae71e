"""Writes the bill of materials of the program as CycloneDX JSON to standard output.

    packaging/sbom.py [PROGRAM]      with PROGRAM, its hash is in it, too

What is linked in is `required`; what only ran to build it (build scripts, procedural macros) is `excluded`. The same
commit, program and compiler give the same bytes: no random number is in it, and its time is SOURCE_DATE_EPOCH or none.
"""

import datetime
import hashlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path

from crates import described, said_by, tree

LICENCE_OF_OURS = "MIT OR Apache-2.0"


def reference(crate):
    """How the document names a crate: crates.io's by package URL, ours by name and version."""
    name, version = crate
    return f"{name}@{version}" if packages[crate]["source"] is None else f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def component(crate):
    package = packages[crate]
    made = {"type": "library", "bom-ref": reference(crate), "name": crate[0], "version": crate[1]}
    if package["description"]:
        made["description"] = " ".join(package["description"].split())
    made["scope"] = "required" if crate in linked else "excluded"
    if crate in checksums:
        made["hashes"] = [{"alg": "SHA-256", "content": checksums[crate]}]
    # A slash is how crates wrote "or" before they wrote SPDX.
    made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["source"] is not None:
        made["purl"] = reference(crate)
    if re.match("https?://", package["repository"] or ""):
        made["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return made


root = Path(__file__).resolve().parent.parent
os.chdir(root)
needs = tree("normal,build")
linked = tree("normal,no-proc-macro")
packages = described()
locked = tomllib.loads((root / "Cargo.lock").read_text())["package"]
checksums = {(p["name"], p["version"]): p["checksum"] for p in locked if "checksum" in p}
compiler = re.search(r"^release: (\S+)$", said_by("rustc", "-vV"), re.M).group(1)

program = next(iter(needs))
described_program = component(program) | {"type": "application", "description": packages[program]["description"]}
del described_program["scope"]
if len(sys.argv) > 1:
    described_program["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest()}]
library = {
    "type": "library", "bom-ref": f"std@{compiler}", "name": "std", "version": compiler, "scope": "required",
    "description": "Rust's standard library", "licenses": [{"expression": LICENCE_OF_OURS}],
}
metadata = {
    "lifecycles": [{"phase": "build"}],
    "tools": {"components": [{"type": "application", "name": "rustc", "version": compiler}]},
    "component": described_program,
}
if "SOURCE_DATE_EPOCH" in os.environ:
    at = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    metadata = {"timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")} | metadata
edges = {reference(crate): sorted(map(reference, of)) for crate, of in needs.items()}
edges[reference(program)].append(library["bom-ref"])
document = {
    "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "metadata": metadata,
    "components": [component(crate) for crate in sorted(needs) if crate != program] + [library],
    "dependencies": [{"ref": ref, "dependsOn": edges[ref]} for ref in sorted(edges)],
}
json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
print()
print(f"components={len(document['components'])} linked={len(linked)}", file=sys.stderr)
