"""GGUF: counts, metadata by key and type, tensors' names, shapes, types and offsets, aligned bytes."""

import struct

from . import values
from .safetensors import change_values

SIZES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
ALIGNMENT = 32


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        size = struct.calcsize("<" + code)
        (value,) = struct.unpack("<" + code, self.data[self.at : self.at + size])
        self.at += size
        return value

    def string(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            of, count = self.take("I"), self.take("Q")
            return [of, count, [self.value(of) for _ in range(count)]]
        return self.take(SIZES[kind])


def parse(data):
    """Version, pairs [key, kind, value], tensors [name, dims, kind, offset], and what follows the padding."""
    reader = Reader(data)
    reader.at = 4
    version, tensors, pairs = reader.take("I"), reader.take("Q"), reader.take("Q")
    metadata = []
    for _ in range(pairs):
        key, kind = reader.string(), reader.take("I")
        metadata.append([key, kind, reader.value(kind)])
    infos = []
    for _ in range(tensors):
        name = reader.string()
        dims = [reader.take("Q") for _ in range(reader.take("I"))]
        infos.append([name, dims, reader.take("I"), reader.take("Q")])
    return version, metadata, infos, data[reader.at + -reader.at % ALIGNMENT :], reader.at


def string(text):
    return struct.pack("<Q", len(text)) + text


def number(code, value):
    if code in "fd":
        try:
            return struct.pack("<" + code, value)
        except OverflowError:
            return struct.pack("<" + code, float("inf"))
    size = struct.calcsize("<" + code)
    return (int(value) % 2 ** (8 * size)).to_bytes(size, "little")


def write_value(kind, value):
    if kind == STRING and isinstance(value, bytes):
        return string(value)
    if kind == ARRAY and isinstance(value, list):
        of, count, items = value
        return struct.pack("<IQ", of % 2**32, count % 2**64) + b"".join(write_value(of, item) for item in items)
    if kind in SIZES and isinstance(value, (int, float)):
        value = 0 if value != value and SIZES[kind] not in "fd" else value
        value = 2**31 if abs(value) == float("inf") and SIZES[kind] not in "fd" else value
        return number(SIZES[kind], value)
    return value if isinstance(value, bytes) else b"\0" * 8


def build(version, metadata, infos, body, counts=None):
    pairs, tensors = counts or (len(metadata), len(infos))
    out = b"GGUF" + struct.pack("<IQQ", version % 2**32, tensors % 2**64, pairs % 2**64)
    for key, kind, value in metadata:
        out += string(key) + struct.pack("<I", kind % 2**32) + write_value(kind, value)
    for name, dims, kind, offset in infos:
        out += string(name) + struct.pack("<I", len(dims)) + b"".join(number("Q", d) for d in dims)
        out += struct.pack("<I", kind % 2**32) + number("Q", offset)
    return out + b"\0" * (-len(out) % ALIGNMENT) + body


def scalar(rng, kind, value):
    if kind == STRING:
        return values.text(rng, value.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")[:20_000]
    if SIZES.get(kind) in ("f", "d"):
        return rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf"), 1e-30, 2.0, 0.5])
    return rng.choice([values.integer(rng), value + 1, value - 1, 2 * value, value // 2, 0])


def change_metadata(rng, metadata):
    at = rng.randrange(len(metadata))
    key, kind, value = metadata[at]
    which = rng.random()
    if which < 0.45 and kind != ARRAY:
        metadata[at][2] = scalar(rng, kind, value)
    elif which < 0.45 and isinstance(value, list):
        of, count, items = value
        spot = rng.randrange(max(1, len(items)))
        change = rng.choice(["element", "length", "type", "shorter", "longer", "nested", "empty"])
        if change == "element" and items and of != ARRAY:
            items[spot] = scalar(rng, of, items[spot])
        elif change == "length":
            value[1] = values.integer(rng)
        elif change == "type":
            value[0] = rng.choice([0, 4, 5, 6, 8, 9, 13, 200])
        elif change == "shorter":
            value[1:] = [spot, items[:spot]]
        elif change == "longer":
            value[1:] = [2 * count, items * 2]
        elif change == "nested":
            value[:] = [ARRAY, 1, [[of, count, items]]]
        else:
            value[1:] = [0, []]
    elif which < 0.55:
        del metadata[at]
    elif which < 0.62:
        metadata.insert(rng.randrange(len(metadata) + 1), [key, kind, value])
    elif which < 0.7:
        other = rng.choice(metadata)
        metadata[at] = [key, other[1], other[2]]
    elif which < 0.8:
        metadata[at][0] = values.text(rng, key.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")[:20_000]
    elif which < 0.88:
        metadata[at][1] = rng.choice([0, 1, 4, 5, 6, 7, 8, 9, 10, 12, 13, 2**31])
    else:
        architecture = key.split(b".")[0]
        odd = [b"general.alignment", b"general.architecture", architecture + b".rope.scaling.type", b"split.count", b"split.no"]
        odd += [architecture + b".rope.dimension_count", architecture + b".attention.key_length", b"tokenizer.ggml.model"]
        new = rng.choice([(4, values.integer(rng)), (8, b"yarn"), (8, b"x"), (6, 0.0), (4, 0), (10, 2**63)])
        metadata.append([rng.choice(odd), *new])


def change_tensor(rng, infos):
    at = rng.randrange(len(infos))
    name, dims, kind, offset = infos[at]
    which = rng.random()
    if which < 0.3:
        infos[at][1] = rng.choice(
            [[values.integer(rng) for _ in dims], dims[::-1], dims + [1], dims[1:], [0], dims * 3, [2**32, 2**32], []]
        )
    elif which < 0.5:
        infos[at][2] = rng.choice([0, 1, 2, 3, 4, 5, 8, 10, 12, 14, 16, 24, 30, 31, 39, 99, 2**31])
    elif which < 0.7:
        infos[at][3] = rng.choice([values.integer(rng), offset + 1, offset + ALIGNMENT, 0, rng.choice(infos)[3]])
    elif which < 0.8:
        del infos[at]
    elif which < 0.9:
        infos.append([rng.choice([name, name + b"x", b"output.weight", b"rope_freqs.weight"]), dims, kind, offset])
    else:
        infos[at][0] = rng.choice([values.text(rng, name.decode()).encode("utf-8", "surrogatepass")[:20_000], rng.choice(infos)[0]])


def mutate(rng, data):
    version, metadata, infos, body, end = parse(data)
    which = rng.random()
    if which < 0.5 and metadata:
        for _ in range(rng.choice([1, 1, 2])):
            if metadata:
                change_metadata(rng, metadata)
    elif which < 0.7 and infos:
        change_tensor(rng, infos)
    elif which < 0.78:
        body = change_values(rng, body)
    elif which < 0.83:
        version = rng.choice([0, 1, 2, 3, 4, 2**31, 3 << 24])
    elif which < 0.88:
        counts = [len(metadata), len(infos)]
        counts[rng.randrange(2)] = values.integer(rng)
        return build(version, metadata, infos, body, counts)
    else:
        return values.raw(rng, data, [4, 8, 16, 24, end, end + -end % ALIGNMENT, len(data)])
    return build(version, metadata, infos, body)


def split(data, parts):
    """One file as several, as llama.cpp's gguf-split writes them: metadata in the first, a part's tensors in each."""
    version, metadata, infos, body, _ = parse(data)
    ends = sorted(info[3] for info in infos) + [len(body)]
    size = {start: end for start, end in zip(ends, ends[1:])}
    each = -(-len(infos) // parts)
    files = []
    for part in range(parts):
        of_part, out = [], b""
        for name, dims, kind, offset in infos[part * each : (part + 1) * each]:
            of_part.append([name, dims, kind, len(out)])
            out += body[offset : offset + size[offset]]
            out += b"\0" * (-len(out) % ALIGNMENT)
        own = metadata if part == 0 else []
        keys = [[b"split.no", 2, part], [b"split.count", 2, parts], [b"split.tensors.count", 5, len(infos)]]
        files.append(build(version, own + keys, of_part, out))
    return files
