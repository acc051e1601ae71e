"""Writes the licences of every crate that is part of the program: name, version, licence, and its own texts."""

import sys
from pathlib import Path

from crates import described, tree

texts = {}
packages = described()
# What is linked in; those of tests and build scripts are not shipped.
foreign = [packages[crate] for crate in sorted(tree("normal")) if packages[crate]["source"]]
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
