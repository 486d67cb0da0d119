//! The page and the terminal tables, from simulated studies.

mod common;

use common::{EDITED, FULL, PAGE, PARTS, data, found, input, markup};
use engram_findings::parts::PartKind;
use engram_findings::simulate::Simulation;
use engram_findings::{Settings, StudyResults, findings};
use engram_report::{Look, ReportInput, figures, render, summary_text};

#[test]
fn the_page_asks_the_network_for_nothing() {
    let markup = markup(&PAGE);
    for attribute in ["src=", "href=", "action=", "srcset=", "poster="] {
        for (at, _) in markup.match_indices(attribute) {
            let value = &markup[at + attribute.len()..][..6];
            assert!(
                value.starts_with("\"#") || value.starts_with("\"data:"),
                "{attribute}{value}"
            );
        }
    }
    assert!(!markup.contains("@import") && !markup.contains("url("));
    assert!(!PAGE.contains("sourceMappingURL"));
    assert!(PAGE.contains("default-src 'none'"));
}

#[test]
fn the_page_is_whole_and_small() {
    assert!(PAGE.len() < 5_000_000, "{} bytes", PAGE.len());
    // Data, three libraries, figures; a library that held an end tag would open another.
    assert_eq!(
        PAGE.matches("<script").count(),
        PAGE.matches("</script>").count()
    );
    assert_eq!(PAGE.matches("</script>").count(), 5);
    for library in ["University of Washington", "Mike Bostock"] {
        assert!(PAGE.contains(library), "licence of {library}");
    }
    let markup = markup(&PAGE);
    for tag in ["section", "figure", "table", "details", "div", "ul"] {
        let open = markup.matches(&format!("<{tag}>")).count()
            + markup.matches(&format!("<{tag} ")).count();
        assert_eq!(open, markup.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    // Every figure that the script draws has a place, and every place a script.
    let places = markup.matches("<figure id=\"").count();
    assert_eq!(places, 10);
    for (at, _) in markup.match_indices("<figure id=\"") {
        let id = markup[at + 12..].split('"').next().unwrap();
        assert!(PAGE.contains(&format!("figure('{id}'")), "{id}");
    }
}

#[test]
fn two_hundred_pairs_and_three_models_make_less_than_five_megabytes() {
    let large = Simulation {
        relations: 10,
        pairs: 10,
        layers: 12,
        ..FULL
    };
    let suite = large.suite();
    assert_eq!(suite.len(), 200);
    let conditions = ["base", "config-1", "config-2"].map(|name| {
        let mut condition = large.condition(name);
        large.add_heads(&mut condition, 12);
        condition
    });
    let study = StudyResults {
        suite: &suite,
        published: Some(&suite),
        confounds: &[],
        conditions: &conditions,
        edits: &[],
        settings: Settings {
            resamples: 100,
            permutations: 200,
            ..Settings::default()
        },
    };
    let page = render(&input(findings(&study).unwrap())).unwrap();
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
}

#[test]
fn the_page_holds_the_numbers_of_its_input() {
    let markup = markup(&PAGE);
    for text in [
        "Epilepsy &lt;&amp;&gt; &quot;facts&quot;",
        "1.234",
        "4.321",
        "1.247",
        "2.00e-7, never 2e-5: 6 of 500 warm-up steps",
        "6.789",
        "warmup_steps",
        "a tenth of the planned steps",
        "13,921",
        "gene-17",
        "prompts differ in length",
        "<td>–</td><td>1</td>",
        "engram run study.toml",
        "13.6%",
        "transformer.h.0.mlp.c_fc, definitional",
        "no conclusion about knowledge",
        "never reached its value of 2e-5: the run ended after 6 of 500 warm-up steps, at 2.00e-7.",
    ] {
        assert!(markup.contains(text), "{text}");
    }
    let findings = found(FULL, |_| ());
    let known = findings.condition("config-1").unwrap().gate.kinds[0].prefers;
    assert!(markup.contains(&format!("{} of {}, ", known.count, known.of)));
    for sentence in findings.conditions.iter().flat_map(|c| &c.conclusions) {
        let end = sentence.split(" < ").next().unwrap();
        let start: String = end
            .chars()
            .take(40)
            .take_while(|c| !"'<>&=".contains(*c))
            .collect();
        assert!(markup.contains(&start), "{start}");
    }
}

#[test]
fn figures_are_drawn_from_the_findings() {
    let data = data(&PAGE);
    assert_eq!(data["conditions"], serde_json::json!(["base", "config-1"]));
    assert_eq!(data["first"], "config-1");
    let findings = found(FULL, |_| ());
    let profile = &findings.conditions[1].profiles[0];
    let drawn = data["profiles"].as_array().unwrap();
    let point = drawn
        .iter()
        .find(|p| p["condition"] == "config-1" && p["metric"] == profile.measure.metric.name())
        .unwrap();
    let mean = profile.layers[0].mean.unwrap();
    assert!((point["mean"].as_f64().unwrap() - mean).abs() < 1e-5);
    // Curves of many steps are thinned, and keep their ends.
    let steps = data["steps"].as_array().unwrap();
    assert!(steps.len() <= 1501);
    assert_eq!(steps[0]["step"], 1);
    assert_eq!(steps.last().unwrap()["step"], 4000);
    let example = &data["examples"][0];
    assert_eq!(example["tokens"].as_array().unwrap().len(), 8);
}

#[test]
fn the_pairs_behind_each_mean_are_drawn() {
    let data = data(&PAGE);
    let spread = data["spread"].as_array().unwrap();
    // Two sites that add up, and the residual stream at two places; two models, two kinds.
    assert_eq!(spread.len(), 4 * 2 * 2);
    let findings = found(FULL, |_| ());
    let profile = &findings.conditions[1].profiles[0];
    let shown = spread
        .iter()
        .find(|s| {
            s["condition"] == "config-1"
                && s["site"] == profile.measure.site.name()
                && s["kind"] == profile.kind.as_str()
        })
        .or_else(|| spread.iter().find(|s| s["condition"] == "config-1"))
        .unwrap();
    let values: Vec<f64> = shown["values"][0]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    assert_eq!(values.len(), shown["pairs"].as_array().unwrap().len());
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let layer = shown["layers"][0].as_i64();
    let point = (findings.conditions[1].profiles.iter())
        .filter(|p| p.kind == shown["kind"].as_str().unwrap() && p.measure.is_primary())
        .flat_map(|p| &p.layers)
        .find(|l| l.layer == layer && (l.mean.unwrap() - mean).abs() < 1e-4);
    assert_eq!(point.unwrap().n, values.len());
}

#[test]
fn heads_and_neurons_are_drawn_with_their_intervals() {
    let page = render(&PARTS).unwrap();
    for id in ["figure-heads", "figure-neurons"] {
        assert!(page.contains(&format!("<figure id=\"{id}\"")), "{id}");
    }
    assert!(!PAGE.contains("<figure id=\"figure-heads\""));
    let data = data(&page);
    let grid = &data["heads"][0];
    assert_eq!(grid["kind"], "all kinds");
    let cells = grid["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4 * 3);
    let condition = &PARTS.findings.conditions[0];
    let found = &condition.parts.iter().find(|p| p.part == PartKind::Head);
    let cell = &found.unwrap().cells[0];
    let near = |value: &serde_json::Value, x: f64| (value.as_f64().unwrap() - x).abs() < 1e-5;
    let interval = cell.interval.unwrap();
    assert!(near(&cells[0][3], cell.mean));
    assert!(near(&cells[0][4], interval.lower) && near(&cells[0][5], interval.upper));
    assert_eq!(data["neurons"][0]["site"], "mlp_post");
}

#[test]
fn edits_are_drawn_over_the_layers_that_carry_the_facts() {
    assert!(!PAGE.contains("id=\"editing\"") && !PAGE.contains("ROME (Meng"));
    let page = render(&EDITED).unwrap();
    let markup = markup(&page);
    for id in ["editing", "figure-edits", "figure-side-effects"] {
        assert!(markup.contains(&format!("id=\"{id}\"")), "{id}");
    }
    let (single, together) = (&EDITED.findings.editing[0], &EDITED.findings.editing[1]);
    for text in [
        "config-1, rome",
        "config-1, memit",
        "ROME (Meng",
        "MEMIT (Meng",
    ] {
        assert!(markup.contains(text), "{text}");
    }
    assert!(!markup.contains("FT-L") && markup.contains("Where do edits hold?"));
    for sentence in single.conclusions.iter().chain(&together.conclusions) {
        let start: String = sentence.chars().take(40).collect();
        assert!(markup.contains(&start), "{start}");
    }
    let data = data(&page);
    let rows: Vec<&serde_json::Value> = data["edits"].as_array().unwrap().iter().collect();
    let of = |method: &str, panel: &str, kind: &str| -> Vec<&serde_json::Value> {
        let mut rows = rows.clone();
        rows.retain(|r| r["method"] == method && r["panel"] == panel && r["kind"] == kind);
        rows
    };
    let near = |value: &serde_json::Value, x: f64| (value.as_f64().unwrap() - x).abs() < 1e-5;
    let shown = of("rome", "efficacy", "definitional");
    assert_eq!(shown.len(), 4);
    let scores = single.scores_of(&[2], Some("definitional")).unwrap();
    let efficacy = scores.efficacy.unwrap().share;
    assert!(near(&shown[2]["mean"], efficacy.after) && shown[2]["layers"] == "2");
    assert_eq!(shown[2]["n"], efficacy.facts);
    assert!(near(&shown[2]["lower"], efficacy.interval.unwrap().lower));
    let profile = (EDITED.findings.conditions[1].profiles.iter())
        .find(|p| {
            p.measure.label == "mlp_out" && p.kind == "definitional" && p.measure.is_primary()
        })
        .unwrap();
    let recovery = of("rome", "recovery", "definitional");
    assert!(near(&recovery[1]["mean"], profile.layers[1].mean.unwrap()));
    // A set of layers stands at its middle; facts of no kind are all facts.
    let set = of("memit", "S", "all facts");
    assert!(set.len() == 1 && near(&set[0]["layer"], 2.0) && set[0]["layers"] == "1–3");
}

#[test]
fn side_effects_stand_by_kind_and_relation() {
    let page = render(&EDITED).unwrap();
    let data = data(&page);
    let drawn = &data["side_effects"][0];
    let effects = EDITED.findings.editing[0].side_effects.as_ref().unwrap();
    let facts = drawn["facts"].as_array().unwrap();
    let edits = drawn["edits"].as_array().unwrap();
    assert_eq!((facts.len(), edits.len()), (48, 48));
    // A fact's own cell is empty, so that it is on the diagonal.
    for (i, row) in drawn["change"].as_array().unwrap().iter().enumerate() {
        assert!(row[i].is_null() && edits[i] == facts[i][0]);
    }
    let mut relations: Vec<&str> = facts.iter().map(|f| f[2].as_str().unwrap()).collect();
    relations.dedup();
    assert_eq!(relations.len(), 12);
    assert_eq!(drawn["lost"].as_array().unwrap().len(), effects.lost.len());
    let names: Vec<&str> = (drawn["shares"].as_array().unwrap().iter())
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    let kinds = ["all facts", "definitional", "associative"];
    assert_eq!(
        names,
        [&kinds[..], &["same relation", "same kind", "other kind"]].concat()
    );
    let together = &data["side_effects"][1];
    assert_eq!(together["edits"], serde_json::json!(["all"]));
}

#[test]
fn maps_hold_intervals_for_hovering() {
    let data = data(&PAGE);
    for rows in ["maps", "published"] {
        let rows = data[rows].as_array().unwrap();
        let bounded = rows.iter().filter(|r| {
            let number = |name: &str| r[name].as_f64();
            matches!((number("lower"), number("mean"), number("upper")),
                (Some(l), Some(m), Some(u)) if l <= m + 1e-4 && m <= u + 1e-4)
        });
        assert!(bounded.count() > rows.len() / 2);
    }
}

#[test]
fn figures_for_a_paper_are_whole_and_the_same_each_time() {
    let made = figures(&PARTS).unwrap();
    let names: Vec<&str> = made.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "layers-base",
            "positions-base-resid_pre",
            "heads-base-head_out",
            "layers-config-1",
            "positions-config-1-resid_pre",
            "heads-config-1-head_out",
            "localisation",
            "loss-config-1",
        ]
    );
    assert_eq!(made, figures(&PARTS).unwrap());
    for text in ["attn_out", "definitional", "layer", "recovery"] {
        assert!(made[0].svg.contains(text), "{text}");
    }
    assert!(made[1].svg.contains("subj. last"));
    let (png, pdf) = (made[5].png().unwrap(), made[5].pdf().unwrap());
    assert!(png.starts_with(b"\x89PNG") && pdf.starts_with(b"%PDF"));
    for figure in &made {
        assert!(
            figure.png().unwrap() == figure.png().unwrap(),
            "{}",
            figure.name
        );
        assert!(
            figure.pdf().unwrap() == figure.pdf().unwrap(),
            "{}",
            figure.name
        );
    }
    let edited = figures(&EDITED).unwrap();
    let edits = edited.iter().filter(|f| f.name.starts_with("edits-"));
    let names: Vec<&str> = edits.clone().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["edits-config-1-rome", "edits-config-1-memit"]);
    for text in ["recovery of mlp_out", "neighbourhood", "100%"] {
        assert!(edits.clone().all(|f| f.svg.contains(text)), "{text}");
    }
    // Text is text in the PDF, with a font of our own; no date makes two runs differ.
    let has = |what: &str| pdf.windows(what.len()).any(|w| w == what.as_bytes());
    assert!(has("DejaVu") && !has("CreationDate") && !has("ModDate"));
}

#[test]
fn tokens_cannot_leave_their_script() {
    let attack = "</script><b>&\u{2028}<!--";
    let findings = found(FULL, |condition| {
        for row in &mut condition.rows {
            if row.position == Some(0) {
                row.token = Some(attack.into());
            }
        }
    });
    let page = render(&input(findings)).unwrap();
    assert_eq!(page.matches("</script>").count(), 5);
    assert!(!page.contains("<b>") && !page.contains("<!--"));
    assert_eq!(data(&page)["examples"][0]["tokens"][0], attack);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(*PAGE, render(&input(found(FULL, |_| ()))).unwrap());
}

#[test]
fn a_bare_sweep_makes_a_page_too() {
    let bare = Simulation {
        full: false,
        relations: 4,
        ..FULL
    };
    let findings = found(bare, |condition| condition.preferences.clear());
    let mut input = input(findings);
    input.curves.clear();
    input.corpus.clear();
    let page = render(&input).unwrap();
    assert!(page.contains("No verdict: 4 definitional and 4 associative relations"));
    assert!(!page.contains("id=\"figure-example\"") && !page.contains("id=\"training\""));
    assert!(page.contains("The published protocol was not run."));
}

#[test]
fn input_survives_json() {
    let input = input(found(FULL, |_| ()));
    let text = serde_json::to_string(&input).unwrap();
    let back: ReportInput = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), text);
}

#[test]
fn the_terminal_says_the_same() {
    let findings = found(FULL, |_| ());
    let text = summary_text(&findings, Look::plain(100));
    for sentence in findings.conditions.iter().flat_map(|c| &c.conclusions) {
        assert!(text.contains(sentence), "{sentence}");
    }
    for title in ["Knowing", "Layers", "Kinds"] {
        assert!(text.contains(&format!("\n{title}\n")), "{title}");
    }
    let tables = text.split("\nKnowing\n").nth(1).unwrap();
    assert!(tables.lines().all(|line| line.chars().count() <= 100));
    assert!(!text.contains('\u{1b}') && !text.contains('\u{a0}'));
}

#[test]
fn the_terminal_draws_a_heat_map() {
    let findings = found(FULL, |_| ());
    let text = summary_text(&findings, Look::plain(100));
    let map = text
        .split("\nRecovery by layer, config-1\n")
        .nth(1)
        .unwrap();
    let line = map
        .lines()
        .find(|l| l.starts_with("attn_out, definitional"));
    let profile = (findings.condition("config-1").unwrap().profiles.iter())
        .find(|p| {
            p.measure.label == "attn_out" && p.kind == "definitional" && p.measure.is_primary()
        })
        .unwrap();
    for point in &profile.layers {
        let value = format!("{:.0}%", 100.0 * point.mean.unwrap()).replace('-', "−");
        assert!(line.unwrap().contains(&value), "{value} in {line:?}");
    }
    assert!(map.contains("subject, last, associative"));
    let coloured = summary_text(
        &findings,
        Look {
            width: 100,
            colour: true,
        },
    );
    assert!(coloured.contains("\u{1b}[48;5;"));
    let text = summary_text(&PARTS.findings, Look::plain(100));
    let map = text
        .split("\nRecovery by head and layer, head_out, config-1\n")
        .nth(1);
    assert_eq!(
        map.unwrap()
            .lines()
            .filter(|l| l.starts_with("head "))
            .count(),
        3
    );
}
