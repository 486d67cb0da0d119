"""Parquet: the footer and the page headers as Thrift, the pages' bytes."""

import copy
import struct

from . import thrift, values


def footer(data):
    length = struct.unpack("<I", data[-8:-4])[0]
    start = len(data) - 8 - length
    return start, thrift.Reader(data, start).struct()


def join(body, fields):
    text = thrift.struct(fields)
    return body + text + struct.pack("<I", len(text)) + b"PAR1"


def get(fields, number):
    return next((value for n, _, value in fields if n == number), None)


def pages(fields):
    """Where the pages of every column begin: dictionary and data."""
    found = []
    for group in (get(fields, 4) or [0, []])[1]:
        for column in (get(group, 1) or [0, []])[1]:
            about = get(column, 3) or []
            found += [at for at in (get(about, 9), get(about, 11)) if isinstance(at, int)]
    return found


def change_page(rng, data, start, fields):
    """A page's header changed. Where it grows or shrinks, the column's places in the footer move with it."""
    at = rng.choice(pages(fields))
    reader = thrift.Reader(data, at)
    header = reader.struct()
    thrift.change(rng, header, values)
    new = thrift.struct(header)
    moved = len(new) - (reader.at - at)
    for group in get(fields, 4)[1]:
        for column in get(group, 1)[1]:
            for field in get(column, 3) or []:
                if field[0] in (9, 11) and isinstance(field[2], int) and field[2] > at:
                    field[2] += moved
    return join(data[:at] + new + data[reader.at : start], fields)


def mutate(rng, data):
    start, fields = footer(data)
    which = rng.random()
    if which < 0.5:
        for _ in range(rng.choice([1, 1, 2])):
            thrift.change(rng, fields, values)
        return join(data[:start], fields)
    if which < 0.7 and pages(fields):
        return change_page(rng, data, start, copy.deepcopy(fields))
    if which < 0.85:
        body = values.flip(rng, data[4:start])
        return join(b"PAR1" + body, fields)
    if which < 0.9:
        return data[:-8] + struct.pack("<I", values.integer(rng) % 2**32) + b"PAR1"
    return values.raw(rng, data, [4, start, len(data) - 8, len(data) - 4] + pages(fields))
