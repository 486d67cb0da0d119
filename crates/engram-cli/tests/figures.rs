//! Figures of results at the edges: any script, many layers, long names, one long pair, through `engram report`.

mod common;

use std::path::{Path, PathBuf};

use common::engram;
use engram::results::{EXCLUDED, MANIFEST, Manifest, PATCH, SUITE};
use engram_core::{Row, Suite, files};
use engram_findings::simulate::Simulation;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes a sweep's folder: the simulation's rows with other names of the model and of the kinds.
fn sweep(folder: &Path, simulation: Simulation, heads: i64, model: &str, kinds: [&str; 2]) {
    let mut condition = simulation.condition(model);
    simulation.add_heads(&mut condition, heads);
    let kind = |old: &str| kinds[usize::from(old == "associative")].to_owned();
    for row in &mut condition.rows {
        row.kind = kind(&row.kind);
    }
    let mut pairs = simulation.suite();
    for pair in &mut pairs {
        pair.kind = kind(&pair.kind);
    }
    let manifest = Manifest {
        models: vec![model.to_owned()],
        title: "Sweep".to_owned(),
        ..Manifest::default()
    };
    Row::write_parquet(&folder.join(PATCH), &condition.rows).unwrap();
    Suite { pairs }.write(&folder.join(SUITE)).unwrap();
    files::write_json(&folder.join(EXCLUDED), &Vec::<String>::new()).unwrap();
    files::write_json(&folder.join(MANIFEST), &manifest).unwrap();
}

fn deep(layers: i64) -> Simulation {
    Simulation {
        relations: 3,
        pairs: 4,
        layers,
        layer_effect: 0.2,
        kind_effect: 0.4,
        full: true,
        seed: 2,
        ..Simulation::default()
    }
}

/// Draws the figures of a folder; gives what was said on stderr.
fn drawn(folder: &Path, more: &[&str]) -> String {
    let args = [&["report", ".", "--figures", "figures"], more].concat();
    let (code, _, stderr) = engram(folder, &args);
    assert_eq!(code, 0, "{stderr}");
    stderr
}

/// Width and height of a PNG, from its header.
fn size(png: &Path) -> (u32, u32) {
    let bytes = std::fs::read(png).unwrap();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// The texts of a picture: place, size and words.
fn texts(svg: &str) -> Vec<(f64, f64, f64, String)> {
    let value = |tag: &str, name: &str| -> f64 {
        let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    };
    svg.split("<text ")
        .skip(1)
        .filter_map(|rest| {
            let (tag, rest) = rest.split_once('>')?;
            let (words, _) = rest.split_once("</text>")?;
            let tag = format!(" {tag}");
            let found = (value(&tag, "x"), value(&tag, "y"), value(&tag, "font-size"));
            Some((found.0, found.1, found.2, words.trim().to_owned()))
        })
        .collect()
}

#[test]
fn a_font_draws_what_others_lack_and_what_none_has_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // A character of a private area, which only the font of the fixture has.
    let kinds = ["definitional", "\u{f0000}\u{f0000}"];
    sweep(here, deep(4), 2, "m", kinds);
    let stderr = drawn(here, &[]);
    assert!(
        stderr.contains("notice: layers-m: no font has \u{f0000} (U+F0000), drawn as boxes; name a font that does: --font FILE"),
        "{stderr}"
    );
    let read = |name: &str| std::fs::read(here.join("figures").join(name)).unwrap();
    let (boxes, text) = (read("layers-m.png"), read("layers-m.svg"));
    let font = root().join("fixtures/fonts/few.ttf");
    let font = font.to_string_lossy();
    let stderr = drawn(here, &["--font", &font]);
    assert!(!stderr.contains("no font has"), "{stderr}");
    let (png, pdf) = (read("layers-m.png"), read("layers-m.pdf"));
    assert_ne!(png, boxes);
    assert_eq!(read("layers-m.svg"), text);
    // The same each time, whatever order fonts are read in.
    drawn(here, &["--font", &font]);
    assert_eq!((read("layers-m.png"), read("layers-m.pdf")), (png, pdf));
    let (code, _, stderr) = engram(
        here,
        &[
            "report",
            ".",
            "--figures",
            "figures",
            "--font",
            "suite.jsonl",
        ],
    );
    assert_eq!(code, 1);
    assert!(stderr.contains("suite.jsonl: it is no font"), "{stderr}");
}

#[test]
fn two_hundred_layers_and_long_names_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let model = "a-model-whose-name-has-many-more-letters-than-any-figure-has-room-for-seed-7";
    let long = "definitional-knowledge-of-rare-syndromes";
    sweep(
        here,
        deep(200),
        4,
        model,
        [long, "associative-knowledge-of-rare-syndromes"],
    );
    drawn(here, &[]);
    let mut seen = 0;
    for entry in std::fs::read_dir(here.join("figures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "png") {
            let (wide, tall) = size(&path);
            assert!(wide <= 5000 && tall <= 4000, "{path:?}: {wide} x {tall}");
        }
        if path.extension().is_none_or(|e| e != "svg") {
            continue;
        }
        seen += 1;
        let svg = std::fs::read_to_string(&path).unwrap();
        let (_, wide) = svg.split_once("<svg width=\"").unwrap();
        let wide: f64 = wide.split_once('"').unwrap().0.parse().unwrap();
        let all = texts(&svg);
        // Labels of layers do not run into each other.
        let is_number = |t: &&(f64, f64, f64, String)| t.3.parse::<u32>().is_ok();
        for a in all.iter().filter(is_number) {
            for b in all.iter().filter(is_number) {
                let is_row = a.1 == b.1 && a.0 < b.0;
                assert!(!is_row || b.0 - a.0 >= 12.0, "{path:?}: {a:?} {b:?}");
                let is_column = a.0 == b.0 && a.1 < b.1;
                assert!(!is_column || b.1 - a.1 >= 9.0, "{path:?}: {a:?} {b:?}");
            }
        }
        // The title is shortened to the sheet, and keeps both ends of the name where it begins with one.
        let title = all.iter().find(|t| t.2 > 14.0).unwrap();
        let room = wide - title.0;
        assert!(
            0.55 * title.2 * title.3.chars().count() as f64 <= room,
            "{title:?}"
        );
    }
    assert_eq!(seen, 4);
}

/// One pair of 500 tokens, each patched alone.
#[test]
fn one_pair_of_many_tokens_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let one = Simulation {
        relations: 1,
        pairs: 2,
        ..deep(12)
    };
    sweep(here, one, 2, "癲癇モデル", ["définitionnel", "연상"]);
    let rows = Row::read_parquet(&here.join(PATCH)).unwrap();
    let first = rows[0].pair.clone();
    let mut long: Vec<Row> = rows.iter().filter(|r| r.pair == first).cloned().collect();
    let at: Vec<Row> = long
        .iter()
        .filter(|r| r.position == Some(0))
        .cloned()
        .collect();
    long.retain(|r| r.position.is_none());
    for position in 0..500 {
        let token = if position % 2 == 0 {
            "癲癇"
        } else {
            " pneumonoultramicroscopicsilicovolcanoco"
        };
        long.extend(at.iter().map(|r| Row {
            position: Some(position),
            token: Some(token.to_owned()),
            ..r.clone()
        }));
    }
    Row::write_parquet(&here.join(PATCH), &long).unwrap();
    let pairs = Suite::read(&here.join(SUITE)).unwrap().pairs;
    let pairs = pairs.into_iter().filter(|p| p.id == first).collect();
    Suite { pairs }.write(&here.join(SUITE)).unwrap();
    drawn(here, &[]);
    assert!(here.join("figures/layers-癲癇モデル.png").exists());
    assert!(here.join("report.html").exists());
}
