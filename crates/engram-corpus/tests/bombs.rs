//! Files that unpack to more than they are: each is refused, or read, within a stated memory. What the reader
//! allocates is counted by this program's own allocator.
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engram_core::columns::{Column, write_columns};
use engram_corpus::{CorpusError, read};

/// Counts bytes held, and the most that were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests take turns, so that each counts its own.
static TURN: Mutex<()> = Mutex::new(());

const MIB: usize = 1 << 20;

/// What reading a file a record at a time comes to, the records, and the most bytes held meanwhile.
fn read_counted(path: &Path) -> (Result<usize, CorpusError>, usize) {
    let held = HELD.load(Ordering::Relaxed);
    MOST.store(held, Ordering::Relaxed);
    let mut records = 0;
    let found = read::each(path, |_| {
        records += 1;
        Ok(())
    });
    let most = MOST.load(Ordering::Relaxed).saturating_sub(held);
    (found.map(|_| records), most)
}

/// Writes a file and reads it; an error is one line that names the file.
fn attacked(name: &str, bytes: &[u8]) -> (String, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    told(&path)
}

fn told(path: &Path) -> (String, usize) {
    let (found, most) = read_counted(path);
    let text = match found {
        Ok(records) => format!("{records} records"),
        Err(error) => {
            let text = error.to_string();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(text.contains(&name) && !text.contains('\n'), "{text}");
            text
        }
    };
    (text, most)
}

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

/// A workbook of one sheet and, where given, shared strings.
fn workbook(rows: &str, strings: Option<&str>) -> Vec<u8> {
    let relation = |id: &str, kind: &str, target: &str| {
        format!("<Relationship Id=\"{id}\" Type=\"http://x/{kind}\" Target=\"{target}\"/>")
    };
    let package = relation("a", "officeDocument", "xl/workbook.xml");
    let mut book = relation("r1", "worksheet", "worksheets/sheet1.xml");
    if strings.is_some() {
        book += &relation("r2", "sharedStrings", "/xl/sharedStrings.xml");
    }
    let within = |inner: &str| format!("<Relationships>{inner}</Relationships>");
    let mut parts = vec![
        ("_rels/.rels", within(&package)),
        ("xl/_rels/workbook.xml.rels", within(&book)),
        (
            "xl/workbook.xml",
            "<workbook xmlns:r=\"http://x\"><sheets><sheet name=\"S\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
                .to_owned(),
        ),
        (
            "xl/worksheets/sheet1.xml",
            format!("<worksheet><sheetData>{rows}</sheetData></worksheet>"),
        ),
    ];
    if let Some(strings) = strings {
        parts.push(("xl/sharedStrings.xml", format!("<sst>{strings}</sst>")));
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const HEADER: &str = "<row r=\"1\"><c r=\"A1\" t=\"str\"><v>Title</v></c></row>";

#[test]
fn cells_far_apart_take_the_memory_of_cells() {
    let _turn = TURN.lock();
    for place in ["XFD1048576", "CZ1048576", "A1048576"] {
        let row = format!(
            "{HEADER}<row r=\"2\"><c r=\"A2\" t=\"str\"><v>a</v></c></row><row r=\"1048576\"><c r=\"A1048576\" t=\"str\"><v>b</v></c><c r=\"{place}\" t=\"str\"><v>b</v></c></row>"
        );
        let (found, most) = attacked("far.xlsx", &workbook(&row, None));
        assert_eq!(found, "2 records", "{place}");
        assert!(most < 2 * MIB, "{place}: {most}");
    }
    for place in ["XFE1", "ZZZZZZZZZZZZ1", "1", ""] {
        let row = format!("{HEADER}<row><c r=\"{place}\"><v>1</v></c></row>");
        let (found, _) = attacked("nowhere.xlsx", &workbook(&row, None));
        assert!(found.contains("is the place of no cell"), "{found}");
    }
}

#[test]
fn one_shared_string_that_many_cells_name() {
    let _turn = TURN.lock();
    let cell = "<row><c r=\"A2\" t=\"s\"><v>0</v></c></row>";
    let strings = format!("<si><t>{}</t></si>", "x".repeat(32_000));
    let bytes = workbook(&format!("{HEADER}{}", cell.repeat(10_000)), Some(&strings));
    assert!(bytes.len() < 10_000);
    let (found, most) = attacked("shared.xlsx", &bytes);
    assert!(found.contains("more than 200 times its size"), "{found}");
    assert!(most < 2 * MIB, "{most}");
    let (found, _) = attacked("none.xlsx", &workbook(&format!("{HEADER}{cell}"), None));
    assert!(found.contains("there is no shared string \"0\""), "{found}");
}

#[test]
fn parts_that_unpack_without_end() {
    let _turn = TURN.lock();
    // Rows without a cell, 68 MB of them; then one cell, and one header, of 20 MB.
    let empty = "<row></row>".repeat(6_200_000);
    let bytes = workbook(&format!("{HEADER}{empty}"), None);
    drop(empty);
    let (found, most) = attacked("rows.xlsx", &bytes);
    assert!(found.contains("more than 200 times its size"), "{found}");
    assert!(most < 2 * MIB, "{most}");
    let long = "x".repeat(20 * MIB);
    let cell = format!("<row><c r=\"A1\" t=\"str\"><v>{long}</v></c></row>");
    for rows in [format!("{HEADER}{cell}"), cell] {
        let bytes = workbook(&rows, None);
        drop(rows);
        let (found, most) = attacked("cell.xlsx", &bytes);
        assert!(found.contains("longer than 16777216 bytes"), "{found}");
        assert!(most < 64 * MIB, "{most}");
    }
    let bytes = workbook(HEADER, Some(&format!("<si><t>{long}</t></si>")));
    let (found, most) = attacked("string.xlsx", &bytes);
    assert!(found.contains("longer than 16777216 bytes"), "{found}");
    assert!(most < 64 * MIB, "{most}");
}

#[test]
fn a_gzip_of_gzips_members_is_one_file() {
    let _turn = TURN.lock();
    let member = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let line = format!("{{\"title\":\"{}\"}}\n", "x".repeat(1000));
        packed.write_all(line.repeat(1000).as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let (found, most) = attacked("a.jsonl.gz", &member.repeat(200));
    assert!(found.contains("more than 200 times its size"), "{found}");
    assert!(most < 2 * MIB, "{most}");
}

#[test]
fn records_without_end_of_every_text_format_end_in_bounded_memory() {
    let _turn = TURN.lock();
    for (name, start, filler) in [
        ("a.json", "[{\"title\": \"", "x"),
        ("a.json", "[{\"title\": [", "1,"),
        ("a.json", "{\"results\": [{", "\"a\":1,"),
        ("a.jsonl", "{\"title\": \"", "x"),
        ("a.ris", "TY  - JOUR\n", "x\n"),
        ("a.ris", "TY  - JOUR\n", "KW  - \n"),
        ("a.nbib", "PMID- 1\n", "OT  - \n"),
        ("a.nbib", "PMID- 1\nAB  - ", "\n\n"),
        ("a.bib", "@article{a, title={", "x\n"),
        ("a.bib", "@article{a, title={", "{x}"),
        ("a.csv", "title,abstract\n\"", "x"),
        ("a.csv", "title,abstract\n", ","),
        (
            "a.xml",
            "<pmc-articleset><article><front><article-meta><abstract>",
            "<p>x</p>",
        ),
        (
            "a.xml",
            "<xml><records><record><keywords>",
            "<keyword>x</keyword>",
        ),
    ] {
        let mut content = start.as_bytes().to_vec();
        content.extend(filler.bytes().cycle().take(24 * MIB));
        let (error, most) = attacked(name, &content);
        let is_told = [
            "longer than",
            "more than 16384 fields",
            "more than 100000 fields",
        ];
        assert!(is_told.iter().any(|t| error.contains(t)), "{name}: {error}");
        assert!(most < 96 * MIB, "{name} {filler}: {most}");
    }
}
