"""Writes seeds/*.parquet, which Python's standard library cannot: a corpus by pyarrow 26, in its codecs and encodings.

    python fuzz/seeds.py
"""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

import targets

HERE = pathlib.Path(__file__).parent / "seeds"
records = list(targets.abstracts())[:12]
columns = {name: pa.array([record[name] for record in records]) for name in ["pmid", "title", "abstract", "journal", "year"]}
table = pa.table(columns)
plain = dict(row_group_size=5, write_statistics=True)
pq.write_table(table, HERE / "dictionary.parquet", compression="snappy", **plain)
pq.write_table(table, HERE / "zstd.parquet", compression="zstd", data_page_version="2.0", **plain)
pq.write_table(table, HERE / "plain.parquet", compression="none", use_dictionary=False, data_page_size=200, **plain)
deltas = {name: "DELTA_BYTE_ARRAY" for name in ["pmid", "title", "abstract"]}
pq.write_table(table.select(list(deltas)), HERE / "delta.parquet", compression="gzip", use_dictionary=False, column_encoding=deltas)
