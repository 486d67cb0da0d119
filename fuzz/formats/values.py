"""Values that parsers get wrong, and mutations that any file takes."""

INTEGERS = [
    0, 1, -1, 2, 3, 7, 127, 255, 256, 1000, 4095, 65535, 65536, 10**6, 10**7, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    10**11, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20, -2, -(2**31), -(2**63), -(10**20),
]
NUMBERS = ["0.0", "-0.0", "1e-320", "1e308", "-1e308", "1e400", "0.1", "1.5", "-3.5", "1e9", "1e300", "5e-324"]
STRINGS = [
    "", " ", "\t", "a", "\u0000", "\u001b[31mred\u001b[0m", "\ufeff", "\u202egnp", "é" * 7, "𝕏", "\U0010ffff", "=1+1", "-1",
    "@x", "line\nbreak", "\r\n", "../../../etc/passwd", "/dev/null", "{}", "{subject}", "%s%n", "\"", "'", "\\", "NaN",
    "null", "a" * 300, "ab " * 3000, "x" * 100_000,
]


def integer(rng):
    """An integer at a border, or near one."""
    value = rng.choice(INTEGERS)
    return value + rng.choice([-1, 1]) if rng.random() < 0.2 else value


def text(rng, near=""):
    """A string that is odd, or the old one changed."""
    if near and rng.random() < 0.5:
        at = rng.randrange(len(near) + 1)
        return rng.choice(
            [near[:at], near[at:], near + near, near[:at] + rng.choice(STRINGS[:20]) + near[at:], near.upper(), near[::-1]]
        )
    return rng.choice(STRINGS)


def cut(rng, data, borders=()):
    """The beginning of a file, up to a border (or one byte around it) or anywhere."""
    if borders and rng.random() < 0.7:
        at = rng.choice(list(borders)) + rng.choice([-1, 0, 0, 1])
    else:
        at = rng.randrange(len(data) + 1)
    return data[: max(0, min(at, len(data)))]


def flip(rng, data):
    """A few bytes changed, anywhere."""
    if not data:
        return b"\0"
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(data))
        data[at] = rng.choice([data[at] ^ (1 << rng.randrange(8)), rng.randrange(256), 0, 255])
    return bytes(data)


def splice(rng, data):
    """A stretch left out, doubled, or put elsewhere."""
    if len(data) < 4:
        return data + b"\0"
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + rng.choice([1, 8, 64, 4096]))
    part = data[a:b]
    at = rng.randrange(len(data) + 1)
    return rng.choice([data[:a] + data[b:], data[:b] + part + data[b:], data[:at] + part + data[at:], data + part])


def raw(rng, data, borders=()):
    """A change that knows nothing of the format but its borders."""
    return rng.choice([lambda: cut(rng, data, borders), lambda: flip(rng, data), lambda: splice(rng, data)])()
