//! Numbers and lists in words, one way everywhere.

/// A minus sign, as long as a plus sign is wide.
const MINUS: &str = "−";

/// A share as a percentage: `56%`, `13.6%`; whole numbers without a decimal.
pub fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).round() / 10.0;
    // No −0%.
    let tenths = if tenths == 0.0 { 0.0 } else { tenths };
    let text = if tenths.fract() == 0.0 {
        format!("{tenths:.0}%")
    } else {
        format!("{tenths:.1}%")
    };
    text.replace('-', MINUS)
}

/// A p value: `p < 0.001`, `p = 0.023`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else if p < 0.1 {
        format!("p = {p:.3}")
    } else {
        format!("p = {p:.2}")
    }
}

/// A difference to two decimals, or, nearer to 0 than those show, to two digits: one that is shown is never 0.00.
pub fn difference(x: f64) -> String {
    let size = x.abs();
    if !(1e-9..0.005).contains(&size) {
        return number(x);
    }
    let decimals = 1 - size.log10().floor() as i32;
    let text = format!("{x:.0$}", decimals.unsigned_abs() as usize);
    text.replace('-', MINUS)
}

/// A least p as a number: `0.125`, `0.0625`, `0.008`.
pub fn least_p(p: f64) -> String {
    let text = format!("{p:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number to two decimals, without −0.00.
pub fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    if text == "-0.00" {
        "0.00".to_owned()
    } else {
        text.replace('-', MINUS)
    }
}

/// `1 pair`, `2 pairs`.
pub fn plural(n: usize, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A site by what it is: `Attention output (attn_out)`.
pub fn site(label: &str) -> String {
    match label {
        "attn_out" => format!("Attention output ({label})"),
        "mlp_out" => format!("MLP output ({label})"),
        _ => label.to_owned(),
    }
}

/// Layers in words: `layer 3`, `layers 1, 2 and 5`, `the network's end` for a site outside layers.
pub(crate) fn layers(layers: &[Option<i64>]) -> String {
    let names: Vec<String> = layers
        .iter()
        .map(|l| l.map_or_else(|| "outside layers".to_owned(), |l| l.to_string()))
        .collect();
    let noun = if names.len() == 1 { "layer" } else { "layers" };
    format!("{noun} {}", list(&names))
}

/// Sets of layers in words: `layer 3`, `layers 1 and 2`, `layers 3–5`; sets of several layers are joined by `+` unless
/// they are a range.
pub fn layer_sets(sets: &[Vec<usize>]) -> String {
    let several = sets.len() > 1 || sets.iter().any(|s| s.len() > 1);
    let noun = if several { "layers" } else { "layer" };
    let names: Vec<String> = sets.iter().map(|s| layer_set(s)).collect();
    format!("{noun} {}", list(&names))
}

/// A set of layers as a table has it: `3`, `3–5`, `3+7`.
pub fn layer_set(set: &[usize]) -> String {
    match set {
        [first, .., last] if last - first + 1 == set.len() => format!("{first}–{last}"),
        _ => set
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join("+"),
    }
}

/// A share with its interval: `56% [44%, 68%]`.
pub fn share_with(share: f64, interval: Option<engram_stats::Interval>) -> String {
    let interval = interval.map_or(String::new(), |i| {
        format!(" [{}, {}]", percent(i.lower), percent(i.upper))
    });
    format!("{}{interval}", percent(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        assert_eq!(percent(0.56), "56%");
        assert_eq!(percent(0.1364), "13.6%");
        assert_eq!(percent(-0.0001), "0%");
        assert_eq!(p_value(0.0), "p < 0.001");
        assert_eq!(p_value(0.0234), "p = 0.023");
        assert_eq!(number(-0.001), "0.00");
        assert_eq!(number(-1.5), "−1.50");
        let small = [-0.00123, 0.0049, 0.0051, 0.0, 1e-12, -2.0];
        let words = ["−0.0012", "0.0049", "0.01", "0.00", "0.00", "−2.00"];
        assert_eq!(small.map(difference), words);
        assert_eq!([0.125, 0.0625, 1.0].map(least_p), ["0.125", "0.0625", "1"]);
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(layers(&[Some(1), Some(2)]), "layers 1 and 2");
        assert_eq!(layer_sets(&[vec![3]]), "layer 3");
        assert_eq!(
            layer_sets(&[vec![1], vec![3, 4, 5], vec![2, 7]]),
            "layers 1, 3–5 and 2+7"
        );
    }
}
