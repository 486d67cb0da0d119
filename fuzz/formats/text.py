"""Text formats: TOML, XML, CSV, MEDLINE, RIS, merges."""

import csv
import io
import re

from . import values

TOML_VALUES = [
    "0", "-1", "1", "18446744073709551616", "9223372036854775807", "1e309", "nan", "inf", "-inf", "1_000_000_000_000", '""',
    '"x"', "[]", "{}", "true", "1979-05-27", '"\\u0000"', "0x10", "[[[[[[]]]]]]", "'''a\nb'''", "{ a = { b = { c = 1 } } }",
    "1e-320", "0.5", "100000000000", "4294967296", "-9223372036854775808",
]


def toml(rng, data):
    """A value, a key, a line or a header changed."""
    if rng.random() < 0.08:
        return values.raw(rng, data)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        keyed = [i for i, line in enumerate(lines) if "=" in line and not line.lstrip().startswith("#")]
        heads = [i for i, line in enumerate(lines) if line.startswith("[")]
        kind = rng.random()
        at = rng.choice(keyed or range(len(lines)))
        key, _, value = lines[at].partition("=")
        if kind < 0.4:
            lines[at] = f"{key}= {rng.choice(TOML_VALUES)}"
        elif kind < 0.5:
            numbers = list(re.finditer(r"\d[\d_.e-]*", value))
            if numbers:
                n = rng.choice(numbers)
                value = value[: n.start()] + str(values.integer(rng)) + value[n.end() :]
                lines[at] = f"{key}={value}"
        elif kind < 0.6:
            strings = list(re.finditer(r'"([^"]*)"', value))
            if strings:
                s = rng.choice(strings)
                new = values.text(rng, s.group(1)).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
                new = re.sub(r"[\x00-\x1f]", lambda m: f"\\u{ord(m.group()):04x}", new)
                lines[at] = f'{key}={value[: s.start()]}"{new}"{value[s.end() :]}'
        elif kind < 0.68:
            del lines[at]
        elif kind < 0.73:
            lines[at:at] = [lines[at]]
        elif kind < 0.8:
            lines[at] = f"{values.text(rng, key.strip())[:200]!s} ={value}"
        elif kind < 0.86:
            other = rng.choice(keyed or [at])
            lines[at] = f"{key}={lines[other].partition('=')[2]}"
        elif heads:
            at = rng.choice(heads)
            name = lines[at].strip("[] ")
            lines[at] = rng.choice([f"[{name}.x]", f"[[{name}]]", f"[{name}]", "", f"[{name}]\n[{name}]", f"[{name[:-1]}]", "[]"])
    return "\n".join(lines).encode("utf-8", "surrogatepass")


ENTITIES = [
    "&#0;", "&#x110000;", "&#xD800;", "&undefined;", "&lt;", "&amp;amp;", "&", "<", "]]>", "<![CDATA[<b>]]>", "<!-- c -->",
    "<!-- -- -->", "<?pi x?>", "&#x1b;[31m", "\x1b[31m", "\ufeff",
]
DOCTYPE = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)([^<>]*?)(/?)>")


def nodes(text):
    """Spans of whole elements."""
    found, stack = [], []
    for tag in TAG.finditer(text):
        closing, name, _, alone = tag.groups()
        if alone:
            found.append((tag.start(), tag.end(), name))
        elif not closing:
            stack.append((tag.start(), name))
        elif stack and stack[-1][1] == name:
            found.append((stack.pop()[0], tag.end(), name))
    return found


def xml(rng, data):
    """An element taken out, doubled, nested, renamed; text and attributes changed; entities; encodings."""
    kind = rng.random()
    if kind < 0.1:
        return values.raw(rng, data)
    text = data.decode("utf-8", "replace")
    found = nodes(text)
    if not found:
        return values.raw(rng, data)
    a, b, name = rng.choice(found)
    node = text[a:b]
    if kind < 0.22:
        text = text[:a] + text[b:]
    elif kind < 0.34:
        text = text[:b] + node * rng.choice([1, 1, 1, 30]) + text[b:]
    elif kind < 0.44:
        c, d, _ = rng.choice(found)
        if b <= c:
            text = text[:a] + text[c:d] + text[b:c] + node + text[d:]
        else:
            text = text[:a] + text[c:d] + text[b:]
    elif kind < 0.52:
        new = rng.choice(["X", "AbstractText", "PMID", "ArticleTitle", "b", "sup", name.lower(), name + "s"])
        text = text[:a] + re.sub(rf"(</?){re.escape(name)}\b", rf"\g<1>{new}", node) + text[b:]
    elif kind < 0.66:
        texts = [m for m in re.finditer(r">([^<>]+)<", node)]
        if texts:
            m = rng.choice(texts)
            new = rng.choice([values.text(rng, m.group(1)), str(values.integer(rng)), rng.choice(ENTITIES)])
            new = new if rng.random() < 0.3 else new.replace("&", "&amp;").replace("<", "&lt;")
            text = text[: a + m.start(1)] + new + text[a + m.end(1) :]
    elif kind < 0.74:
        attributes = list(re.finditer(r'([\w:.-]+)="([^"]*)"', node))
        if attributes:
            m = rng.choice(attributes)
            new = values.text(rng, m.group(2)).replace('"', "&quot;").replace("<", "&lt;")
            change = rng.choice([f'{m.group(1)}="{new}"', "", f"{m.group()} {m.group()}", f"{m.group(1)}={m.group(2)}", m.group(1)])
            text = text[: a + m.start()] + change + text[a + m.end() :]
    elif kind < 0.8:
        at = rng.randrange(a, b + 1)
        text = text[:at] + rng.choice(ENTITIES) + text[at:]
    elif kind < 0.85:
        deep = rng.choice([5, 300, 20_000])
        tag = rng.choice(["b", name])
        text = text[:a] + f"<{tag}>" * deep + node + f"</{tag}>" * deep + text[b:]
    elif kind < 0.9:
        text = text[: b - rng.randrange(1, len(name) + 3)] + text[b:]
    elif kind < 0.94:
        head = text.find("?>") + 2
        text = text[:head] + DOCTYPE + text[head:]
    elif kind < 0.97:
        codec = rng.choice(["utf-16", "utf-16-le", "latin-1", "utf-8-sig"])
        return text.encode(codec, "replace")
    else:
        named = rng.choice(["utf-16", "latin1", "x", "UTF-7", ""])
        text = re.sub(r'encoding="[^"]*"', f'encoding="{named}"', text)
    return text.encode("utf-8", "surrogatepass")


def table(rng, data):
    """CSV: cells, rows and columns changed; quotes and line ends broken."""
    kind = rng.random()
    if kind < 0.12:
        return values.raw(rng, data)
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig", "replace"))))
    at = rng.randrange(len(rows))
    column = rng.randrange(max(1, len(rows[at])))
    if kind < 0.5 and rows[at]:
        if rng.random() < 0.3:
            at = 0
        column = min(column, len(rows[at]) - 1)
        rows[at][column] = values.text(rng, rows[at][column]) if rng.random() < 0.7 else str(values.integer(rng))
    elif kind < 0.58:
        del rows[at]
    elif kind < 0.64:
        rows[at:at] = [list(rows[at])] * rng.choice([1, 1, 40])
    elif kind < 0.7:
        for row in rows:
            if column < len(row):
                del row[column]
    elif kind < 0.76:
        for row in rows:
            row.insert(column, row[column] if column < len(row) else "")
    elif kind < 0.8:
        rows[at] = rows[at][:column]
    elif kind < 0.84:
        rows[at] = rows[at] + [values.text(rng)] * rng.choice([1, 3000])
    out = io.StringIO()
    csv.writer(out, delimiter=rng.choice(",,,,,,;\t|")).writerows(rows)
    text = out.getvalue()
    if kind > 0.94:
        text = rng.choice([text.replace("\r\n", "\r"), "\ufeff" + text, text.replace('"', ""), text + '"', text.replace("\r\n", "\n\n")])
    elif kind > 0.9:
        spot = rng.randrange(len(text) + 1)
        text = text[:spot] + rng.choice(['"', '""', ",", "\n", "\0", "\x1b[2J", '"x']) + text[spot:]
    return text.encode(rng.choice(["utf-8"] * 9 + ["utf-16"]), "surrogatepass")


def tagged(rng, data):
    """MEDLINE and RIS: lines with a tag at their beginning."""
    kind = rng.random()
    if kind < 0.1:
        return values.raw(rng, data)
    lines = data.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    head, dash, rest = lines[at].partition("- ")
    if kind < 0.4:
        new = values.text(rng, rest) if rng.random() < 0.7 else str(values.integer(rng))
        lines[at] = f"{head}{dash}{new}"
    elif kind < 0.5:
        tags = ["PMID", "TI  ", "AB  ", "TY  ", "ER  ", "DP  ", "OWN ", "XX  ", "pmid", "P", ""]
        lines[at] = f"{rng.choice(tags)}{dash}{rest}"
    elif kind < 0.6:
        del lines[at]
    elif kind < 0.7:
        lines[at:at] = [lines[at]] * rng.choice([1, 1, 200])
    elif kind < 0.8:
        lines[at:at] = [rng.choice(["", "      continued", "PMID- ", "PMID-", "-", "      ", "\x1b[31m", "\0"])]
    elif kind < 0.9:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        text = "\n".join(lines)
        text = rng.choice([text.replace("\n", "\r\n"), "\ufeff" + text, text.replace("\n\n", "\n"), text.replace("- ", "-")])
        return text.encode()
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def merges(rng, data):
    """A BPE's merges: pairs changed, doubled, swapped, broken."""
    if rng.random() < 0.1:
        return values.raw(rng, data)
    lines = data.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    other = rng.randrange(len(lines))
    change = rng.choice(["pair", "out", "twice", "swap", "version", "odd"])
    if change == "pair":
        lines[at] = f"{values.text(rng, lines[at].split(' ')[0])} {lines[other].split(' ')[-1]}"
    elif change == "out":
        del lines[at]
    elif change == "twice":
        lines[at:at] = [lines[other]] * rng.choice([1, 1, 500])
    elif change == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif change == "version":
        lines[0] = rng.choice(["", "#version: 9", "a", "#", lines[at]])
    else:
        lines[at] = rng.choice(["", " ", "a", "a b c", "a  b", "\t", "a b ", " a b", "#x y", "\ufeffa b"])
    return "\n".join(lines).encode("utf-8", "surrogatepass")
