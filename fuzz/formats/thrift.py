"""Thrift's compact protocol, as Parquet's footers and page headers have it, to a tree and back."""

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        value = shift = 0
        while True:
            b = self.byte()
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value

    def zigzag(self):
        n = self.varint()
        return (n >> 1) ^ -(n & 1)

    def value(self, kind):
        if kind in (TRUE, FALSE):
            return self.byte()
        if kind == BYTE:
            return self.byte()
        if kind in (I16, I32, I64):
            return self.zigzag()
        if kind == DOUBLE:
            self.at += 8
            return self.data[self.at - 8 : self.at]
        if kind == BINARY:
            length = self.varint()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind in (LIST, SET):
            head = self.byte()
            count = head >> 4
            count = self.varint() if count == 15 else count
            return [head & 15, [self.value(head & 15) for _ in range(count)]]
        if kind == STRUCT:
            return self.struct()
        raise ValueError(f"thrift type {kind}")

    def struct(self):
        """Fields as [number, kind, value]; a boolean's value is in its kind."""
        fields, last = [], 0
        while True:
            head = self.byte()
            if head == 0:
                return fields
            kind = head & 15
            last = last + (head >> 4) if head >> 4 else self.zigzag()
            fields.append([last, kind, None if kind in (TRUE, FALSE) else self.value(kind)])


def varint(n):
    out = b""
    n %= 2**64
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def zigzag(n):
    n = (n + 2**63) % 2**64 - 2**63
    return varint((n << 1) ^ (n >> 63))


def write(kind, value):
    if kind in (TRUE, FALSE, BYTE):
        return bytes([(value or 0) % 256])
    if kind in (I16, I32, I64):
        return zigzag(value)
    if kind == DOUBLE:
        return value
    if kind == BINARY:
        return varint(len(value)) + value
    if kind in (LIST, SET):
        of, items, *claimed = value
        count = claimed[0] if claimed else len(items)
        head = bytes([count << 4 | of]) if 0 <= count < 15 else bytes([0xF0 | of]) + varint(count)
        return head + b"".join(write(of, item) for item in items)
    return struct(value)


def struct(fields):
    out, last = b"", 0
    for number, kind, value in fields:
        step = number - last
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + zigzag(number)
        out += b"" if kind in (TRUE, FALSE) else write(kind, value)
        last = number
    return out + b"\0"


def places(fields):
    """Every field of every struct: the list of fields, and the place in it."""
    found = []
    for i, (_, kind, value) in enumerate(fields):
        found.append((fields, i))
        if kind == STRUCT:
            found += places(value)
        elif kind in (LIST, SET) and value[0] == STRUCT:
            for item in value[1]:
                found += places(item)
    return found


def change(rng, fields, values):
    """One field changed by its type, taken out, doubled or given another's value."""
    found = places(fields)
    if not found:
        return
    node, i = rng.choice(found)
    number, kind, value = node[i]
    which = rng.random()
    if which < 0.1:
        del node[i]
    elif which < 0.15:
        node.insert(i, [number, kind, value])
    elif which < 0.2:
        node[i][0] = max(1, number + rng.choice([-1, 1, 30]))
    elif kind in (TRUE, FALSE):
        node[i][1] = TRUE + FALSE - kind
    elif kind in (BYTE, I16, I32, I64):
        node[i][2] = rng.choice([values.integer(rng), value + 1, value - 1, rng.randrange(12)])
    elif kind == BINARY:
        node[i][2] = values.text(rng, value.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")[:20_000]
    elif kind in (LIST, SET):
        of, items = value[:2]
        node[i][2] = rng.choice(
            [[of, []], [of, items[:-1]], [of, items * 2], [of, items[::-1]], [of, items, values.integer(rng) % 2**31]]
        )
