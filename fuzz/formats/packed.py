"""gzip and zip, with the checksums made right."""

import gzip
import io
import re
import struct
import zipfile

from . import text, values


def member(data, level=6):
    return gzip.compress(data, level, mtime=0)


def gzipped(inner):
    """Mutations of a gzip of what `inner` mutates."""

    def mutate(rng, data):
        plain = gzip.decompress(data)
        which = rng.random()
        if which < 0.5:
            return member(inner(rng, plain))
        if which < 0.6:
            half = len(plain) // 2
            parts = [member(plain[:half]), member(plain[half:]), member(b""), b"trailing", b"\0" * 64, data]
            return b"".join(rng.sample(parts, rng.choice([1, 2, 3])))
        if which < 0.66:
            # Far more than it holds: blanks, within a record and between records.
            return member(plain + rng.choice([b"\n", b" ", b"a"]) * rng.choice([10**6, 30 * 10**6]), 9)
        if which < 0.72:
            flags = rng.randrange(256)
            return data[:3] + bytes([flags]) + data[4:10] + rng.choice([b"", b"\xff\xff", b"name\0"]) + data[10:]
        if which < 0.8:
            size = values.integer(rng) % 2**32
            return rng.choice([data[:-4] + struct.pack("<I", size), data[:-8] + struct.pack("<I", size) + data[-4:]])
        if which < 0.86:
            broken = bytearray(data)
            at = rng.randrange(10, max(11, len(broken) - 8))
            broken[at] ^= 1 << rng.randrange(8)
            return bytes(broken)
        if which < 0.9:
            return member(data)
        return values.raw(rng, data, [2, 10, len(data) - 8, len(data) - 4])

    return mutate


CELLS = ["XFD1048576", "CZ1048576", "A1048577", "XFE1", "A0", "ZZZZ9", "1A", "A", "", "$A$1", "A1:B2", "A-1", "A99999999999999"]


def change_sheet(rng, data):
    """A cell's place, its type, its index of a shared string, the sheet's dimensions; otherwise as XML."""
    kind = rng.random()
    source = data.decode("utf-8", "replace")
    cells = list(re.finditer(r'\b(r|ref|s|t|spans)="([^"]*)"', source))
    numbers = list(re.finditer(r"<v>([^<]*)</v>", source))
    if kind < 0.35 and cells:
        m = rng.choice(cells)
        new = {
            "r": rng.choice(CELLS), "ref": rng.choice(["A1:XFD1048576", "XFD1048576", "B2:A1", ""]),
            "s": str(values.integer(rng)), "t": rng.choice(["s", "n", "b", "e", "str", "inlineStr", "d", "x"]),
        }.get(m.group(1), str(values.integer(rng)))
        return (source[: m.start(2)] + new + source[m.end(2) :]).encode()
    if kind < 0.5 and numbers:
        m = rng.choice(numbers)
        new = rng.choice([str(values.integer(rng)), rng.choice(values.NUMBERS), "NaN", "", "x"])
        return (source[: m.start(1)] + new + source[m.end(1) :]).encode()
    return text.xml(rng, data)


def read_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def write_zip(entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, data, compress_type=method)
    return out.getvalue()


def xlsx(rng, data):
    """A part changed as XML, taken out, renamed, doubled; the archive's frame changed."""
    entries = read_zip(data)
    which = rng.random()
    at = rng.randrange(len(entries))
    if which < 0.5:
        sheets = [i for i, (name, _) in enumerate(entries) if "sheet1" in name or "sharedStrings" in name]
        at = rng.choice(sheets) if sheets and rng.random() < 0.8 else at
        entries[at] = (entries[at][0], change_sheet(rng, entries[at][1]))
    elif which < 0.58:
        del entries[at]
    elif which < 0.63:
        entries[at] = (values.text(rng, entries[at][0])[:200] or "x", entries[at][1])
    elif which < 0.68:
        other = rng.randrange(len(entries))
        entries[at] = (entries[at][0], entries[other][1])
    elif which < 0.74:
        # Blanks where XML may have them: far larger than the file.
        name, part = entries[at]
        entries[at] = (name, part + b" " * rng.choice([10**6, 40 * 10**6]))
    elif which < 0.8:
        name, part = entries[at]
        row = re.search(rb"<row.*?</row>", part, re.S)
        if row:
            part = part.replace(row.group(), row.group() * rng.choice([2, 3000]), 1)
        entries[at] = (name, part)
    elif which < 0.9:
        # A field of a local or a central header.
        broken = bytearray(data)
        heads = [m.start() for m in re.finditer(rb"PK\x01\x02|PK\x03\x04|PK\x05\x06", data)]
        spot = rng.choice(heads) + rng.choice([4, 6, 8, 14, 18, 20, 22, 24, 26, 28, 42])
        broken[spot : spot + 4] = struct.pack("<I", values.integer(rng) % 2**32)
        return bytes(broken)
    else:
        return values.raw(rng, data, [m.start() for m in re.finditer(rb"PK", data)])
    return write_zip(entries, rng.choice([zipfile.ZIP_DEFLATED] * 3 + [zipfile.ZIP_STORED]))


def workbook(rows):
    """A spreadsheet with one sheet of strings."""
    strings, index = [], {}
    lines = []
    for r, row in enumerate(rows, 1):
        cells = ""
        for c, cell in enumerate(row):
            if cell not in index:
                index[cell] = len(strings)
                strings.append(cell)
            cells += f'<c r="{chr(65 + c)}{r}" t="s"><v>{index[cell]}</v></c>'
        lines.append(f'<row r="{r}" spans="1:{len(row)}">{cells}</row>')
    escape = lambda s: s.replace("&", "&amp;").replace("<", "&lt;")
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/><Override PartName="/xl/sharedStrings.xml" ContentType="{kind}.sharedStrings+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" Type="{relation}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" Type="{relation}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="{relation}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><dimension ref="A1:{chr(64 + len(rows[0]))}{len(rows)}"/><sheetData>{"".join(lines)}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{main}" count="{len(strings)}" uniqueCount="{len(strings)}">{"".join(f"<si><t>{escape(s)}</t></si>" for s in strings)}</sst>',
    }
    return write_zip([(name, (head + part).encode()) for name, part in parts.items()])
