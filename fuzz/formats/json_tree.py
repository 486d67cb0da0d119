"""JSON: values changed by type and range, keys and elements taken out, doubled, swapped, nested."""

import json

from . import values


class Object(list):
    """An object as pairs, so that keys can be doubled."""


class Raw(str):
    """Text that is written as it stands: numbers that Python has no value for, and worse."""


RAW = [
    "NaN", "Infinity", "-Infinity", "1e999", "-0", "01", "1.", ".5", "0x10", "1e99999999", "9" * 400, "0." + "3" * 400, "tru",
    "nul", '"\\ud800"', '"\\u0000"', '"\\x"', '"unclosed', "[", "{", "'a'", "1,2",
]


def parse(text):
    return json.loads(text, object_pairs_hook=Object, parse_float=Raw)


def dump(value, indent=None):
    """The value as text. A deep nesting is written without recursion through Python's own encoder."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Object):
        return "{" + ",".join(f"{json.dumps(str(k))}:{dump(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(v) for v in value) + "]"
    return json.dumps(value)


def places(value, most=20_000):
    """Every node's container and place in it, breadth first."""
    found, queue = [], [value]
    while queue and len(found) < most:
        node = queue.pop(0)
        if isinstance(node, list):
            for i, child in enumerate(node):
                inner = child[1] if isinstance(node, Object) else child
                found.append((node, i))
                queue.append(inner)
    return found


def get(node, i):
    return node[i][1] if isinstance(node, Object) else node[i]


def put(node, i, value):
    node[i] = (node[i][0], value) if isinstance(node, Object) else value


def other(rng, old):
    """A value in the old one's place: of its type mostly."""
    kinds = [lambda: values.integer(rng), lambda: Raw(rng.choice(values.NUMBERS)), lambda: values.text(rng)]
    kinds += [lambda: rng.choice([True, False]), lambda: None, lambda: [], lambda: Object(), lambda: Raw(rng.choice(RAW))]
    if isinstance(old, bool):
        return (not old) if rng.random() < 0.5 else rng.choice(kinds)()
    if isinstance(old, (int, Raw)):
        return rng.choice(kinds[:2] if rng.random() < 0.7 else kinds)()
    if isinstance(old, str):
        return values.text(rng, old) if rng.random() < 0.7 else rng.choice(kinds)()
    if isinstance(old, list) and not isinstance(old, Object) and old and rng.random() < 0.5:
        return rng.choice([old[:1], old * 2, old[::-1], old * rng.choice([3, 100]), old[: len(old) // 2]])
    return rng.choice(kinds)()


def change(rng, root):
    """One change somewhere in the tree, in place; gives the root."""
    found = places(root)
    if not found:
        return other(rng, root)
    # Upper nodes are few and matter most.
    node, i = found[min(int(len(found) * rng.random() ** 2), len(found) - 1)]
    kind = rng.random()
    if kind < 0.5:
        put(node, i, other(rng, get(node, i)))
    elif kind < 0.62:
        del node[i]
    elif kind < 0.7:
        times = rng.choice([1, 1, 1, 50, 2000]) if not isinstance(get(node, i), list) else 1
        node[i:i] = [node[i]] * times
    elif kind < 0.78:
        (a, b), (c, d) = rng.choice(found), (node, i)
        if a[b : b + 1] and c[d : d + 1]:
            first, second = get(a, b), get(c, d)
            put(a, b, Raw(dump(second))), put(c, d, Raw(dump(first)))
    elif kind < 0.84 and isinstance(node, Object):
        key, value = node[i]
        node[i] = (values.text(rng, key), value)
    elif kind < 0.88 and isinstance(node, Object):
        node.append((values.text(rng, node[i][0]), other(rng, node[i][1])))
    elif kind < 0.92:
        deep = rng.choice([3, 100, 130, 5000])
        open_, close = rng.choice([("[", "]"), ('{"a":', "}")])
        put(node, i, Raw(open_ * deep + "1" + close * deep))
    else:
        source, j = rng.choice(found)
        if j < len(source):
            put(node, i, Raw(dump(get(source, j))))
    return root


def mutate(rng, data):
    if rng.random() < 0.12:
        return values.raw(rng, data)
    try:
        root = parse(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return values.raw(rng, data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        root = change(rng, root)
    text = dump(root)
    if rng.random() < 0.03:
        text = rng.choice(["\ufeff" + text, text + text, text + "\0", "  " + text + "\n\n", text.replace(",", ",\n")])
    return text.encode("utf-8", "surrogatepass")


def mutate_lines(rng, data):
    """JSONL: a line changed as JSON, or lines taken out, doubled, swapped, torn."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.7:
        full = [i for i, line in enumerate(lines) if line.strip()]
        if full:
            at = rng.choice(full)
            lines[at] = mutate(rng, lines[at]).replace(b"\n", b" ")
    elif kind < 0.75:
        del lines[at]
    elif kind < 0.8:
        lines[at:at] = [lines[at]] * rng.choice([1, 1, 20])
    elif kind < 0.85:
        other_ = rng.randrange(len(lines))
        lines[at], lines[other_] = lines[other_], lines[at]
    elif kind < 0.9:
        lines[at:at] = [rng.choice([b"", b" ", b"{}", b"[]", b"null", b"\xef\xbb\xbf", b"\xff\xfe", b"# a comment"])]
    elif kind < 0.93:
        return rng.choice([data.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + data, data.replace(b"\n", b""), data.rstrip()])
    else:
        borders = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
        return values.raw(rng, data, borders)
    return b"\n".join(lines)
