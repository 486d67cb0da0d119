"""safetensors: a length, a JSON header, the tensors' bytes."""

import json
import struct

from . import json_tree, values
from .json_tree import Object, Raw

DTYPES = ["F32", "F16", "BF16", "F64", "I64", "I32", "U8", "BOOL", "F8_E4M3", "F4", "f32", "", "C64", "I8"]
FLOATS = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e-45, 0.0, 1e30]


def split(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json_tree.parse(data[8 : 8 + length].decode()), data[8 + length :]


def join(header, body):
    text = json_tree.dump(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def field(entry, name):
    return next((i for i, (key, _) in enumerate(entry) if key == name), None)


def change_header(rng, header):
    at = rng.randrange(len(header))
    name, entry = header[at]
    if not isinstance(entry, Object):
        return
    if name == "__metadata__":
        if entry:
            i = rng.randrange(len(entry))
            key, value = entry[i]
            try:
                # What a delta was asked is JSON in a string.
                inner = json_tree.dump(json_tree.change(rng, json_tree.parse(value)))
            except (ValueError, TypeError):
                inner = values.text(rng, str(value))
            entry[i] = (key, inner)
            if rng.random() < 0.2:
                del entry[i]
        return
    kind = rng.random()
    dtype, shape, offsets = (field(entry, f) for f in ("dtype", "shape", "data_offsets"))
    if None in (dtype, shape, offsets):
        return
    if kind < 0.15:
        entry[dtype] = ("dtype", rng.choice(DTYPES))
    elif kind < 0.4:
        old = list(entry[shape][1])
        new = rng.choice(
            [
                lambda: [values.integer(rng) for _ in old],
                lambda: old[::-1],
                lambda: old + [rng.choice([1, 0, 2**40])],
                lambda: old[1:],
                lambda: [0] * len(old),
                lambda: [2**33, 2**31] + old,
                lambda: [n + rng.choice([-1, 0, 1]) for n in old],
                lambda: [1] * 5000,
            ]
        )()
        entry[shape] = ("shape", new)
    elif kind < 0.6:
        a, b = entry[offsets][1]
        new = rng.choice(
            [[b, a], [a, b + 1], [a + 1, b], [a, values.integer(rng)], [values.integer(rng), b], [a], [a, b, b], [0, 0], [a, a]]
        )
        entry[offsets] = ("data_offsets", new)
    elif kind < 0.7:
        other = rng.choice(header)[1]
        if isinstance(other, Object):
            entry[:] = list(other)
    elif kind < 0.8:
        header[at] = (values.text(rng, name), entry)
    elif kind < 0.87:
        del header[at]
    elif kind < 0.94:
        header.append((rng.choice([name, name + ".x", "lm_head.weight", "h.0.attn.bias"]), entry))
    else:
        json_tree.change(rng, header)


def change_values(rng, body):
    """Numbers of the tensors, as float32."""
    body = bytearray(body)
    for _ in range(rng.choice([1, 1, 8, 500])):
        at = 4 * rng.randrange(max(1, len(body) // 4))
        body[at : at + 4] = struct.pack("<f", rng.choice(FLOATS))
    return bytes(body)


def swapped(rng, header, body):
    """Two tensors' bytes exchanged where they are as long."""
    spans = [e[field(e, "data_offsets")][1] for k, e in header if k != "__metadata__" and field(e, "data_offsets") is not None]
    a = rng.choice(spans)
    same = [s for s in spans if s[1] - s[0] == a[1] - a[0] and s != a]
    if not same:
        return body[::-1]
    b = rng.choice(same)
    body = bytearray(body)
    body[a[0] : a[1]], body[b[0] : b[1]] = body[b[0] : b[1]], body[a[0] : a[1]]
    return bytes(body)


def mutate(rng, data):
    kind = rng.random()
    header, body = split(data)
    length = 8 + struct.unpack("<Q", data[:8])[0]
    if kind < 0.6:
        for _ in range(rng.choice([1, 1, 2])):
            change_header(rng, header)
        return join(header, body)
    if kind < 0.72:
        return join(header, change_values(rng, body))
    if kind < 0.77:
        return join(header, swapped(rng, header, body))
    if kind < 0.82:
        return struct.pack("<Q", values.integer(rng) % 2**64) + data[8:]
    if kind < 0.86:
        return join(header, rng.choice([body + b"\0", body[:-1], body + body, b""]))
    if kind < 0.88:
        padded = json.dumps({}).encode() + b" " * rng.choice([0, 10**6])
        return struct.pack("<Q", len(padded)) + padded
    borders = [0, 8, length] + [length + e[field(e, "data_offsets")][1][1] for k, e in header if field(e, "data_offsets") is not None]
    return values.raw(rng, data, borders)
