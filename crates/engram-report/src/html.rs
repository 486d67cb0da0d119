//! The page: template, style, script, libraries and data in one file.

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use crate::charts::ChartData;
use crate::error::Result;
use crate::input::ReportInput;
use crate::page::Page;

const TEMPLATE: &str = include_str!("../templates/report.html");
const TABLE: &str = include_str!("../templates/table.html");
const STYLE: &str = include_str!("../templates/style.css");
const SCRIPTS: [&str; 4] = [
    include_str!("../templates/chart.js"),
    include_str!("../templates/figures.js"),
    include_str!("../templates/maps.js"),
    include_str!("../templates/edits.js"),
];
const LIBRARIES: [&str; 3] = [
    include_str!("../vega/vega.min.js"),
    include_str!("../vega/vega-lite.min.js"),
    include_str!("../vega/vega-embed.min.js"),
];
const LICENCES: &str = include_str!("../vega/LICENSES.txt");

/// The report as one HTML file that asks the network for nothing. The same input gives the same bytes.
///
/// # Errors
/// [`crate::ReportError`], where the template or the figures' data fail.
pub fn render(input: &ReportInput) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_filter("tied", tied);
    environment.add_template("table.html", TABLE)?;
    environment.add_template("report.html", TEMPLATE)?;
    let template = environment.get_template("report.html")?;
    Ok(template.render(context! {
        page => Value::from(Serde(Page::new(input))),
        style => STYLE,
        libraries => LIBRARIES.map(without_source_map),
        licences => LICENCES,
        scripts => SCRIPTS,
        data => json_in_script(&ChartData::new(input))?,
    })?)
}

/// A sentence whose p values and intervals are not broken over lines.
fn tied(sentence: String) -> String {
    let mut text = sentence;
    for (loose, tied) in [
        ("p < ", "p\u{a0}<\u{a0}"),
        ("p = ", "p\u{a0}=\u{a0}"),
        ("W = ", "W\u{a0}=\u{a0}"),
    ] {
        text = text.replace(loose, tied);
    }
    text
}

/// Without the comment that makes a browser's tools look for a file that is not there.
fn without_source_map(library: &str) -> &str {
    match library.rfind("//# sourceMappingURL=") {
        Some(end) => &library[..end],
        None => library,
    }
}

/// JSON that cannot end the script element it stands in, whatever tokens it holds.
fn json_in_script(data: &ChartData) -> Result<String> {
    let text = serde_json::to_string(data)?;
    // Inside JSON these characters occur in strings alone, where an escape means the same.
    Ok(text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"))
}
