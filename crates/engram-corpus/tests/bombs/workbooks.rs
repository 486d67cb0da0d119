//! Spreadsheets that unpack to far more than their size.

use std::io::Write;

use crate::{MIB, TURN, attacked};

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
