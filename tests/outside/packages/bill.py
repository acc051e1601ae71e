"""Whether the bill of materials is valid CycloneDX, and true: `bill.py BILL PROGRAM ROOT`.

The schema is the official one, in CycloneDX's own library. What is in the program is read from the program: where code
may panic, the compiler leaves the name and version of its crate.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

bill, program, root = map(Path, sys.argv[1:])
text = bill.read_text()
validator = JsonStrictValidator(SchemaVersion.V1_6)
wrong = []


def need(holds, words):
    if not holds:
        wrong.append(words)


need(validator.validate_str(text) is None, f"schema: {validator.validate_str(text)}")
document = json.loads(text)
for broken in (
    text.replace('"type": "library"', '"type": "book"', 1),
    text.replace('"specVersion": "1.6"', '"specVersion": 1.6'),
    re.sub(r'"expression": "[^"]+"', '"expression": 7', text, count=1),
):
    need(validator.validate_str(broken) is not None, "the validator takes what is not CycloneDX")

components = document["components"]
references = [c["bom-ref"] for c in components] + [document["metadata"]["component"]["bom-ref"]]
need(len(references) == len(set(references)), "two components have one name")
depending = {d["ref"]: d["dependsOn"] for d in document["dependencies"]}
need({ref for of in depending.values() for ref in of} <= set(references), "a dependency is no component")
reached, waiting = set(), [document["metadata"]["component"]["bom-ref"]]
while waiting:
    ref = waiting.pop()
    if ref not in reached:
        reached.add(ref)
        waiting += depending.get(ref, [])
need(set(references) <= reached, f"no way from the program to {sorted(set(references) - reached)}")
digest = hashlib.sha256(program.read_bytes()).hexdigest()
need(document["metadata"]["component"]["hashes"][0]["content"] == digest, "it is another program's")
need("serialNumber" not in document, "a random number keeps two bills from being the same")

linked = {(c["name"], c["version"]) for c in components if c["scope"] == "required"}
places = re.findall(rb"/registry/src/[^/\s]+/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)/", program.read_bytes())
seen = {(name.decode(), version.decode()) for name, version in places}
need(len(seen) > 50, f"{len(seen)} crates are named in the program")
need(seen <= linked, f"in the program, not in the bill: {sorted(seen - linked)}")
locked = (root / "Cargo.lock").read_text()
for c in components:
    if "purl" in c:
        entry = f'name = "{c["name"]}"\nversion = "{c["version"]}"\n'
        need(entry in locked and c["hashes"][0]["content"] in locked, f"{c['name']} is not what is locked")
for words in wrong:
    print(f"wrong: {words}")
print(f"ran bill: schema=1.6 components={len(components)} linked={len(linked)} seen_in_program={len(seen)} wrong={len(wrong)}")
sys.exit(bool(wrong))
