//! Parquet files whose pages, dictionaries or metadata claim more than they hold.

use std::path::{Path, PathBuf};

use engram_core::columns::{Column, write_columns};

use crate::{MIB, TURN, attacked, told};

/// A Parquet file of titles and abstracts.
fn parquet(folder: &Path, titles: Vec<Option<String>>, bodies: Vec<Option<String>>) -> PathBuf {
    let path = folder.join("a.parquet");
    let columns = vec![
        ("title", Column::Text(titles)),
        ("abstract", Column::Text(bodies)),
    ];
    write_columns(&path, columns).unwrap();
    path
}

#[test]
fn one_text_in_a_dictionary_that_a_million_rows_name() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let rows = 60_000;
    let path = {
        let text = Some("x".repeat(2000));
        parquet(folder.path(), vec![text; rows], vec![None; rows])
    };
    // 120 MB of texts in a file of a few kB.
    assert!(std::fs::metadata(&path).unwrap().len() < 100_000);
    let (error, most) = told(&path);
    assert!(error.contains("more than 200 times its size"), "{error}");
    assert!(most < 16 * MIB, "{most}");
}

#[test]
fn a_parquet_file_of_many_texts_takes_the_memory_of_its_pages() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let rows = 20_000;
    let path = {
        let text = |i: usize| Some(format!("{:032x}", (i as u128 + 7).pow(6)).repeat(40));
        parquet(
            folder.path(),
            (0..rows).map(text).collect(),
            vec![None; rows],
        )
    };
    let (found, most) = told(&path);
    assert_eq!(found, "20000 records");
    // Pages of 1 MiB: not the table of some 30 MB, once per column and once per row.
    assert!(most < 12 * MIB, "{most}");
}

/// Thrift's compact protocol, as far as Parquet's structures need it.
#[derive(Clone, Default)]
struct Thrift {
    bytes: Vec<u8>,
    last: u8,
}

impl Thrift {
    fn head(mut self, number: u8, kind: u8) -> Thrift {
        self.bytes.push((number - self.last) << 4 | kind);
        self.last = number;
        self
    }

    fn varint(mut self, mut value: u64) -> Thrift {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self
    }

    fn int(self, number: u8, value: i64) -> Thrift {
        self.head(number, 5)
            .varint((value << 1 ^ value >> 63) as u64)
    }

    fn long(self, number: u8, value: i64) -> Thrift {
        self.head(number, 6)
            .varint((value << 1 ^ value >> 63) as u64)
    }

    fn text(self, number: u8, text: &str) -> Thrift {
        let mut next = self.head(number, 8).varint(text.len() as u64);
        next.bytes.extend(text.as_bytes());
        next
    }

    fn part(self, number: u8, part: Thrift) -> Thrift {
        let mut next = self.head(number, 12);
        next.bytes.extend(part.end());
        next
    }

    fn list(self, number: u8, kind: u8, claimed: u64, items: Vec<Vec<u8>>) -> Thrift {
        let mut next = self.head(number, 9);
        next.bytes.push(0xf0 | kind);
        next = next.varint(claimed);
        next.bytes.extend(items.concat());
        next
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// An element of a schema: a text, or a group.
fn element(name: &str, children: Option<i64>) -> Vec<u8> {
    let head = match children {
        Some(_) => Thrift::default(),
        None => Thrift::default().int(1, 6),
    };
    let named = head.int(3, 0).text(4, name);
    match children {
        Some(children) => named.int(5, children).end(),
        None => named.int(6, 0).end(),
    }
}

/// A file with one column `title` of texts, of these pages.
fn file_of(schema: Vec<Vec<u8>>, pages: &[u8], rows: i64, codec: i64) -> Vec<u8> {
    let column = Thrift::default()
        .int(1, 6)
        .list(2, 5, 2, vec![vec![0], vec![16]])
        .list(3, 8, 1, vec![b"\x05title".to_vec()])
        .int(4, codec)
        .long(5, rows)
        .long(6, 1 << 20)
        .long(7, pages.len() as i64)
        .long(9, 4);
    let chunk = Thrift::default().long(2, 4).part(3, column).end();
    let group = Thrift::default()
        .list(1, 12, 1, vec![chunk])
        .long(2, 1 << 20)
        .long(3, rows)
        .end();
    let footer = Thrift::default()
        .int(1, 1)
        .list(2, 12, schema.len() as u64, schema)
        .long(3, rows)
        .list(4, 12, 1, vec![group]);
    whole(pages, footer)
}

fn whole(pages: &[u8], footer: Thrift) -> Vec<u8> {
    let footer = footer.end();
    let size = (footer.len() as u32).to_le_bytes();
    [b"PAR1", pages, &footer, &size, b"PAR1"].concat()
}

fn flat() -> Vec<Vec<u8>> {
    vec![element("root", Some(1)), element("title", None)]
}

fn page(kind: i64, unpacked: i64, values: i64, encoding: i64, bytes: &[u8]) -> Vec<u8> {
    let head = Thrift::default()
        .int(1, kind)
        .int(2, unpacked)
        .int(3, bytes.len() as i64);
    let head = match kind {
        0 => {
            let data = Thrift::default().int(1, values).int(2, encoding);
            head.part(5, data.int(3, 3).int(4, 3))
        }
        _ => head.part(7, Thrift::default().int(1, values).int(2, encoding)),
    };
    [head.end(), bytes.to_vec()].concat()
}

#[test]
fn what_a_parquet_file_claims_is_held_against_what_it_has() {
    let _turn = TURN.lock();
    let text = b"\x01\0\0\0a";
    let plain = page(0, 5, 1, 0, text);
    let (found, _) = attacked("good.parquet", &file_of(flat(), &plain, 1, 0));
    assert_eq!(found, "1 records");

    let huge = i64::from(i32::MAX);
    let refused = |name: &str, bytes: Vec<u8>, part: &str| {
        let (found, most) = attacked(name, &bytes);
        assert!(found.contains(part), "{name}: {found}");
        assert!(most < 2 * MIB, "{name}: {most}");
    };
    let of = |pages: Vec<u8>| file_of(flat(), &pages, 1, 1);
    refused(
        "page.parquet",
        of(page(0, huge, 1, 0, text)),
        "decompression bomb",
    );
    let dictionary = page(2, 5, huge, 0, text);
    refused(
        "dictionary.parquet",
        of(dictionary),
        "claims more values than it holds",
    );
    // Pages that are small, each with a claim on the other columns' room.
    let half = page(0, 200 << 20, 1, 0, text);
    let both = [page(2, 200 << 20, 1, 0, text), half].concat();
    refused("sum.parquet", of(both), "decompression bomb");
    // DELTA_LENGTH_BYTE_ARRAY (6) and DELTA_BYTE_ARRAY (7) that claim 2^62 lengths, and lengths beyond the page.
    let lengths = |count: u64, first: u64| {
        let head = Thrift::default().varint(128).varint(4).varint(count);
        head.varint(first << 1).bytes
    };
    for encoding in [6, 7] {
        let claimed = lengths(1 << 62, 1);
        let size = claimed.len() as i64;
        let claimed = page(0, size, 1, encoding, &claimed);
        refused(
            "delta.parquet",
            file_of(flat(), &claimed, 1, 0),
            "a page of texts is damaged",
        );
    }
    let long = lengths(1, 1 << 30);
    let long = page(0, long.len() as i64, 1, 6, &long);
    refused(
        "long.parquet",
        file_of(flat(), &long, 1, 0),
        "a page of texts is damaged",
    );

    let deep = (0..10_000).map(|_| element("g", Some(1)));
    let deep: Vec<_> = deep.chain([element("title", None)]).collect();
    refused(
        "deep.parquet",
        file_of(deep, &plain, 1, 0),
        "nested 10001 deep",
    );
    for children in [1 << 31, -1] {
        let crowded = vec![element("g", Some(children)), element("title", None)];
        refused(
            "children.parquet",
            file_of(crowded, &plain, 1, 0),
            "footer is damaged",
        );
    }
    let list = |claimed, items| {
        let footer = Thrift::default().int(1, 1).list(2, 12, claimed, items);
        whole(&plain, footer.long(3, 1))
    };
    refused("list.parquet", list(1 << 40, flat()), "footer is damaged");
    let many: Vec<_> = (0..500_001).map(|_| vec![0]).collect();
    let (found, most) = attacked("many.parquet", &list(500_001, many));
    assert!(
        found.contains("footer lists 500001") && most < 4 * MIB,
        "{found}: {most}"
    );
    let mut footer = file_of(flat(), &plain, 1, 0);
    let at = footer.len() - 8;
    footer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused("footer.parquet", footer, "footer has 4294967295 bytes");
}

/// Rows that one run of a dictionary's index stands for: 2^24 of one short text in 100 bytes.
#[test]
fn a_run_of_rows_ends_where_no_corpus_of_its_size_does() {
    let _turn = TURN.lock();
    let rows = 1 << 24;
    // The index's width, then one run: its length doubled, and its value.
    let run = [vec![1], Thrift::default().varint(rows << 1).bytes, vec![0]].concat();
    let pages = [
        page(2, 5, 1, 0, b"\x01\0\0\0a"),
        page(0, run.len() as i64, rows as i64, 8, &run),
    ]
    .concat();
    let (found, most) = attacked("run.parquet", &file_of(flat(), &pages, rows as i64, 0));
    assert!(found.contains("more than 200 times its size"), "{found}");
    assert!(most < MIB, "{most}");
}

/// Every byte of a good file changed in many ways: an error that names the file, or a corpus, in bounded memory.
#[test]
fn damaged_parquet_files_are_errors() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let text = |i: usize| Some(format!("text {}", i % 7));
    let path = parquet(folder.path(), (0..50).map(text).collect(), vec![None; 50]);
    let good = std::fs::read(&path).unwrap();
    let mut state = 17u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..1500 {
        let mut bytes = good.clone();
        for _ in 0..1 + random(3) {
            let at = random(bytes.len());
            bytes[at] = [0, 0xff, 0x7f, random(256) as u8, bytes[at] ^ 1 << random(8)][random(5)];
        }
        std::fs::write(&path, &bytes).unwrap();
        let (found, most) = told(&path);
        assert!(most < 64 * MIB, "{found}: {most}");
    }
}
