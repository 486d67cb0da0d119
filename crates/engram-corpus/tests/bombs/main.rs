//! Files that unpack to far more than their size: each is refused, or read within a bounded memory. This program's own
//! allocator counts what the reader allocates.
#![allow(unsafe_code, reason = "an allocator that counts")]

mod parquet;
mod workbooks;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
