//! Lists of edits: the same facts in each format, and every fault of a list at once.

use std::path::Path;

use engram_corpus::read_edits;

fn read(folder: &Path, name: &str, text: &str) -> Result<Vec<engram_corpus::ListedEdit>, String> {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    read_edits(&path).map_err(|e| e.to_string())
}

#[test]
fn a_table_and_lines_of_json_are_the_same_list() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"# two capitals
{"id":"egypt","prompt":"The capital of Egypt is","subject":"Egypt","to":"Paris","from":"Cairo","paraphrases":["Egypt's capital is","In Egypt, the capital is"],"neighbours":[{"prompt":"The capital of Spain is","answer":"Madrid"}]}

{"prompt":"埃及的首都是","subject":"埃及","to":"巴黎"}
"#;
    let csv = "\u{feff}id,prompt,subject,to,from,paraphrases,neighbours\n\
        egypt,The capital of Egypt is,Egypt,Paris,Cairo,Egypt's capital is|\"In Egypt, the capital is\",\n";
    let of_json = read(folder.path(), "list.jsonl", json).unwrap();
    assert_eq!(of_json.len(), 2);
    assert_eq!(of_json[1].id, "edit 2");
    assert_eq!(of_json[0].neighbours[0].answer, "Madrid");
    let quoted = csv.replace(
        "Egypt's capital is|\"In Egypt, the capital is\"",
        "\"Egypt's capital is|In Egypt, the capital is\"",
    );
    let of_csv = read(folder.path(), "list.csv", &quoted).unwrap();
    assert_eq!(of_csv.len(), 1);
    assert_eq!(of_csv[0].paraphrases, of_json[0].paraphrases);
    assert_eq!(of_csv[0].from, of_json[0].from);
    assert!(of_csv[0].neighbours.is_empty());
}

#[test]
fn every_fault_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"{"id":"a","prompt":"The capital of Egypt is","subject":"Egypt","to":"Paris"}
{"id":"a","prompt":"The capital of Spain is","subject":"Spain","to":"Rome","form":"Madrid"}
{"prompt":"The capital of Egypt is","subject":"Egypt","to":"Oslo"}
{"prompt":"The capital of Egypt is","subject":"Egypt","to":"Paris"}
{"prompt":"The capital of Chad is","subject":"Peru","to":"Lima"}
{"prompt":"The capital of Chad is","to":7,"paraphrases":"none"}
{"prompt":"The capital of Mali is","subject":"Mali","to":"Bamako","from":" Bamako"}
[1]
{"prompt"
"#;
    let error = read(folder.path(), "list.jsonl", json).unwrap_err();
    for expected in [
        "line 2: unknown field `form` (did you mean `from`?)",
        "line 2: it is called \"a\" as that of line 1",
        "line 3: it contradicts line 1, which asks for \"Paris\" after the same prompt",
        "line 4: it is the edit of line 1 again",
        "line 5: the subject \"Peru\" does not occur in the prompt",
        "line 6: missing field `subject`: what the fact is about",
        "line 6: `to` is no text",
        "line 6: `paraphrases`: invalid type: string",
        "line 7: the new answer \"Bamako\" is the present one",
        "line 8: expected an object: one edit",
        "line 9: it is not JSON",
    ] {
        assert!(error.contains(expected), "no \"{expected}\" in\n{error}");
    }
    let error = read(folder.path(), "none.jsonl", "# nothing\n").unwrap_err();
    assert!(error.contains("it is empty"), "{error}");
    let error = read(folder.path(), "list.csv", "prompt,subject,too\na b,b,c\n").unwrap_err();
    assert!(
        error.contains("too") && error.contains("missing field `to`"),
        "{error}"
    );
}
