"""Are two runs of one study the same, byte for byte, the manifest's times and machine apart?"""

import json
import pathlib
import sys

VARYING = ("timing", "machine", "command", "out")


def files(root):
    return {p.relative_to(root): p for p in sorted(root.rglob("*")) if p.is_file()}


def manifest(path):
    value = json.loads(path.read_text())
    return {key: part for key, part in value.items() if key not in VARYING}


a, b = (files(pathlib.Path(folder)) for folder in sys.argv[1:3])
assert a.keys() == b.keys(), f"other files: {sorted(map(str, a.keys() ^ b.keys()))}"
assert a, "no files"
differing = []
for name, path in a.items():
    if name.name == "manifest.json":
        same = manifest(path) == manifest(b[name])
    else:
        same = path.read_bytes() == b[name].read_bytes()
    if not same:
        differing.append(str(name))
assert not differing, f"differ: {differing}"
print(f"{len(a)} files are the same")
