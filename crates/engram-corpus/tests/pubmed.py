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


def text(element):
    return " ".join("".join(element.itertext()).split()) if element is not None else ""


def body(parent):
    parts = []
    for part in parent.findall("AbstractText") if parent is not None else []:
        label = " ".join(part.get("Label", "").split())
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
            parts = [p for other in citation.iter("OtherAbstract") for p in body(other)]
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
