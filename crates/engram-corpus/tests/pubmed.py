"""What Python's xml.etree finds in PubMed's XML: the independent reading that tests/pubmed.rs is held to.

    python3 crates/engram-corpus/tests/pubmed.py DATA > crates/engram-corpus/tests/pubmed.json

DATA is the folder with pubmed/xml. Only counts, years and hashes are written, no text of an abstract.
"""

import gzip
import hashlib
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def formula(element):
    """A formula of MathML in a line."""
    name = element.tag.split("}")[-1]
    if name in ("mi", "mn", "mo", "mtext", "ms"):
        return "".join(element.itertext()).strip()
    if name in ("annotation", "annotation-xml"):
        return ""
    parts = [(element.text or "").strip() and element.text]
    joints = {"msup": ["", "above"], "msub": ["", "below"], "msubsup": ["", "below", "above"], "mfrac": ["over", "slash"]}.get(name)
    out = parts[0] or ""
    for i, child in enumerate(element):
        part = formula(child)
        if joints:
            inner = part.strip().lstrip("-−+")
            several = re.search(r"[^\w.]|_", inner)
            if joints[i] == "above" and (several or re.match(r"\w", inner)):
                part = "^" + (f"({part})" if several else part)
            elif joints[i] == "below" and re.search(r"\d$", out) and re.match(r"\d", part):
                part = "_" + part
            elif joints[i] in ("over", "slash"):
                part = ("/" if joints[i] == "slash" else "") + (f"({part})" if several else part)
        out += part + ((child.tail or "") if (child.tail or "").strip() else "")
    return out


def plain(element):
    """The text of an element; exponents are told from their base."""
    out = element.text or ""
    for child in element:
        is_math = child.tag.split("}")[-1] == "math"
        part = formula(child) if is_math else plain(child)
        if child.tag == "sup":
            number = re.fullmatch(r"[+\-−–]*[0-9.,]+", part.strip())
            word = re.match(r"[+\-−–]*\w", part.strip()) and part.strip() not in ("st", "nd", "rd", "th")
            if (re.search(r"\d$", out) and word) or (re.search(r"[^\W\d_]$|[)\]]$", out) and number):
                out += "^"
        elif child.tag == "sub" and re.search(r"\d$", out) and re.match(r"\d", part.strip()):
            out += "_"
        out += part + (child.tail or "")
    return out


def text(element):
    return " ".join(plain(element).split()) if element is not None else ""


def body(parent):
    parts = []
    for part in parent.findall("AbstractText") if parent is not None else []:
        label = " ".join(part.get("Label", "").split()).rstrip(": ")
        value = text(part)
        if value:
            hidden = not label or label.upper() in ("UNLABELLED", "UNLABELED", "UNASSIGNED")
            parts.append(value if hidden else f"{label}: {value}")
    return parts


def read(path):
    data = path.read_bytes()
    root = ET.fromstring(gzip.decompress(data) if path.suffix == ".gz" else data)
    deleted = {text(p) for d in root.iter("DeleteCitation") for p in d.findall("PMID")}
    records, empty, gone, seen = [], 0, 0, set()
    for citation in root.iter("MedlineCitation"):
        article = citation.find("Article")
        pmid = text(citation.find("PMID"))
        title = text(article.find("ArticleTitle")) or text(article.find("VernacularTitle"))
        parts = body(article.find("Abstract"))
        if not parts:
            others = [(o.get("Language"), body(o)) for o in citation.iter("OtherAbstract")]
            others = [o for o in others if o[1]]
            english = [o for o in others if o[0] in (None, "eng", "en")]
            parts = (english + others)[0][1] if others else []
        date = article.find("Journal/JournalIssue/PubDate")
        year = text(date.find("Year"))
        if not year:
            found = re.findall(r"(?<!\d)\d{4}(?!\d)", text(date.find("MedlineDate")))
            year = found[0] if found else ""
        keywords = "; ".join(k for k in map(text, citation.iter("Keyword")) if k)
        if not title and not parts:
            empty += 1
        elif pmid in deleted:
            gone += 1
        elif pmid not in seen:
            seen.add(pmid)
            fields = [pmid, title, " ".join(parts), text(article.find("Journal/Title")), keywords, year]
            records.append(hashlib.sha256("\n".join(fields).encode()).hexdigest()[:16])
    return {"abstracts": len(records), "empty": empty, "deleted": gone, "records": records}


folder = Path(sys.argv[1]) / "pubmed" / "xml"
files = sorted(p for p in folder.iterdir() if ".xml" in p.name)
print(json.dumps({p.name: read(p) for p in files}, indent=0))
