//! Shared helpers.

use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A spreadsheet with texts in its cells, as spreadsheet programs write them: `xml:space` keeps blanks.
pub fn workbook(rows: &[Vec<String>]) -> Vec<u8> {
    let escape = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        text.replace('\n', "&#10;")
    };
    let cell = |(column, text): (usize, &String), row: usize| {
        let letter = char::from(b'A' + u8::try_from(column).unwrap());
        match text.is_empty() {
            true => String::new(),
            false => format!(
                "<c r=\"{letter}{row}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{}</t></is></c>",
                escape(text)
            ),
        }
    };
    let lines = rows.iter().enumerate().map(|(n, row)| {
        let cells = row.iter().enumerate().map(|c| cell(c, n + 1));
        format!("<row r=\"{}\">{}</row>", n + 1, cells.collect::<String>())
    });
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let relation = |kind: &str, target: &str| {
        format!(
            "<Relationships><Relationship Id=\"r1\" Type=\"{office}/{kind}\" Target=\"{target}\"/></Relationships>"
        )
    };
    let parts = [
        ("_rels/.rels", relation("officeDocument", "xl/workbook.xml")),
        (
            "xl/workbook.xml",
            format!(
                "<workbook xmlns:r=\"{office}\"><sheets><sheet name=\"a\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>"
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            relation("worksheet", "worksheets/sheet1.xml"),
        ),
        (
            "xl/worksheets/sheet1.xml",
            format!(
                "<worksheet><sheetData>{}</sheetData></worksheet>",
                lines.collect::<String>()
            ),
        ),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        archive
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
