//! The CSV that the report's buttons give, made by the page's own function in Node.js.

use std::process::Command;

/// The function `csv` of the page's script.
fn function() -> &'static str {
    let script = include_str!("../templates/chart.js");
    let from = script.find("function csv(").unwrap();
    let to = script[from..].find("\n}\n").unwrap();
    &script[from..from + to + 3]
}

/// The CSV of rows given as JavaScript; none where there is no Node.js.
fn csv(rows: &str) -> Option<String> {
    let program = format!("{}\nprocess.stdout.write(csv({rows}));", function());
    let out = Command::new("node").args(["-e", &program]).output().ok()?;
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Some(String::from_utf8(out.stdout).unwrap())
}

#[test]
fn cells_that_begin_as_formulas_are_texts_and_numbers_stay_numbers() {
    let texts = [
        "=1+1",
        "+A1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "＝1",
        "-5 mmHg",
        "--",
        "=HYPERLINK(\"http://x\",\"y\")",
    ];
    let good = [
        "plain",
        " = spaced",
        "a=b",
        "−0.5",
        "-0.25",
        "+1e-3",
        "-7",
        "3.",
    ];
    let rows: Vec<_> = (texts.iter().chain(&good))
        .map(|text| serde_json::json!({"=name": text, "value": -0.5}))
        .collect();
    let rows = serde_json::to_string(&rows).unwrap();
    let Some(made) = csv(&rows) else {
        eprintln!("skipped: there is no Node.js");
        return;
    };
    let mut reader = csv_reader(&made);
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.iter().collect::<Vec<_>>(), ["'=name", "value"]);
    let read: Vec<(String, f64)> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(read.len(), texts.len() + good.len());
    for ((cell, value), text) in read.iter().zip(texts) {
        assert_eq!((cell.as_str(), *value), (format!("'{text}").as_str(), -0.5));
    }
    for ((cell, value), text) in read[texts.len()..].iter().zip(good) {
        assert_eq!((cell.as_str(), *value), (text, -0.5));
    }
    let numbers = csv("[{a: -Infinity, b: -1e21, c: null, d: 'x;=1'}]").unwrap();
    assert_eq!(numbers, "a,b,c,d\n-Infinity,-1e+21,,\"x;=1\"\n");
}

fn csv_reader(text: &str) -> csv::Reader<&[u8]> {
    csv::Reader::from_reader(text.as_bytes())
}
