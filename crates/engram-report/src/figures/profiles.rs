//! Recovery by layer: a panel a site, a curve and its band a kind.

use engram_core::Corruption;
use engram_findings::ConditionFindings;
use engram_findings::profile::{LayerProfile, ProfilePoint};

use super::curves::{Over, Panel, Point, figure};
use super::{Figure, file_name};
use crate::charts::place;
use crate::error::Result;

/// One site: its name, and its profiles by kind.
type Site<'a> = (String, Vec<(usize, &'a LayerProfile)>);

/// The figure of one model; none where no site says anything.
pub(super) fn draw(condition: &ConditionFindings, kinds: &[&str]) -> Result<Option<Figure>> {
    let panels: Vec<Panel> = sites(condition, kinds).into_iter().map(panel).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let name = file_name(&["layers", &condition.name]);
    let title = format!("{}: recovery by layer", condition.name);
    figure(name, &title, kinds, &panels).map(Some)
}

fn panel((name, profiles): Site<'_>) -> Panel {
    Panel {
        name,
        value: "recovery",
        share: false,
        curves: profiles.iter().map(|(kind, p)| (*kind, curve(p))).collect(),
    }
}

/// Sites that the graph does not fix in every layer, those that add up over layers first.
fn sites<'a>(condition: &'a ConditionFindings, kinds: &[&str]) -> Vec<Site<'a>> {
    let mut sites: Vec<Site<'a>> = Vec::new();
    let found = condition
        .profiles
        .iter()
        .filter(|p| condition.is_main(&p.measure) && points(p).any(|point| !point.trivial));
    for profile in found {
        let name = match profile.measure.corruption {
            Corruption::Swap => place(&profile.measure),
            other => format!("{}, {other}", place(&profile.measure)),
        };
        let kind = kinds.iter().position(|k| *k == profile.kind).unwrap_or(0);
        match sites.iter_mut().find(|(other, _)| *other == name) {
            Some((_, profiles)) => profiles.push((kind, profile)),
            None => sites.push((name, vec![(kind, profile)])),
        }
    }
    sites.sort_by_key(|(_, profiles)| !profiles[0].1.measure.adds_up());
    sites
}

fn points(profile: &LayerProfile) -> impl Iterator<Item = &ProfilePoint> {
    let points = profile.layers.iter();
    points.filter(|p| p.layer.is_some() && p.mean.is_some())
}

/// The points of a profile.
pub(super) fn curve(profile: &LayerProfile) -> Vec<Point> {
    let numbers = |point: &ProfilePoint| {
        let mean = point.mean.unwrap_or(0.0);
        let (lower, upper) = point.interval.map_or((mean, mean), |i| (i.lower, i.upper));
        Point {
            at: [point.layer.unwrap_or(0) as f64, mean, lower, upper],
            over: match point.trivial {
                true => Over::Trivial,
                false if point.n < point.of => Over::Fewer(point.n),
                false => Over::All,
            },
        }
    };
    points(profile).map(numbers).collect()
}
