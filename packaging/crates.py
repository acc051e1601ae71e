"""The crates that a release build of the program is made of, as cargo resolves them for this machine."""

import json
import re
import subprocess


def said_by(*command):
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def tree(edges):
    """The crates and who needs whom: {(name, version): {(name, version), …}}, the program first.

    `cargo metadata` alone would not do: it lists what features that are off would bring, too.
    """
    lines = said_by("cargo", "tree", "--locked", "--package", "bursar", "--edges", edges, "--prefix", "depth", "--format", "\t{p}")
    found, above = {}, []
    for line in lines.splitlines():
        depth, what = line.split("\t")
        name, version = re.match(r"(\S+) v(\S+)", what).groups()
        del above[int(depth):]
        found.setdefault((name, version), set())
        if above:
            found[above[-1]].add((name, version))
        above.append((name, version))
    return found


def described():
    """What each crate says of itself, by (name, version)."""
    host = re.search(r"^host: (\S+)$", said_by("rustc", "-vV"), re.M).group(1)
    meta = json.loads(said_by("cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host))
    return {(p["name"], p["version"]): p for p in meta["packages"]}
