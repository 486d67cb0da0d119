//! The curve of a training as a picture.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{ReportError, Result};
use crate::input::TrainingCurve;

const SIZE: (u32, u32) = (900, 520);
/// Colours that colour-blind readers tell apart (Okabe and Ito's blue and vermilion).
const TRAINING: RGBColor = RGBColor(0, 114, 178);
const VALIDATION: RGBColor = RGBColor(213, 94, 0);
/// Steps that the training line is a mean over, as a share of the run.
const SMOOTH: usize = 100;

/// Training loss over optimizer steps, each and smoothed, and validation loss after each epoch, as SVG.
///
/// # Errors
/// [`ReportError::Figure`].
pub fn loss_svg(curve: &TrainingCurve) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(curve, &area).map_err(|e| ReportError::Figure {
            figure: "loss.svg".to_owned(),
            why: e.to_string(),
        })?;
    }
    Ok(svg)
}

fn draw(
    curve: &TrainingCurve,
    area: &DrawingArea<SVGBackend<'_>, Shift>,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let training: Vec<(f64, f64)> = curve
        .steps
        .iter()
        .map(|s| (s.step as f64, s.loss))
        .filter(|(_, loss)| loss.is_finite())
        .collect();
    let validation: Vec<(f64, f64, f64)> = curve
        .epochs
        .iter()
        .map(|e| (e.step as f64, e.validation_loss_preset, e.epoch))
        .filter(|(_, loss, _)| loss.is_finite())
        .collect();
    let last = training.last().map_or(1.0, |(step, _)| *step);
    let losses = || {
        let validation = validation.iter().map(|(_, loss, _)| *loss);
        training.iter().map(|(_, loss)| *loss).chain(validation)
    };
    let (low, high) = losses().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| {
        (low.min(loss), high.max(loss))
    });
    let (low, high) = match low < high {
        true => (low, high),
        false => (0.0, 1.0),
    };
    let room = 0.06 * (high - low);

    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{}: loss", curve.condition),
            ("sans-serif", 20).into_font(),
        )
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last * 1.01, low - room..high + room)?;
    chart
        .configure_mesh()
        .x_desc("optimizer steps")
        .y_desc("nats a token")
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.2}"))
        .label_style(("sans-serif", 14))
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()?;
    chart.draw_series(LineSeries::new(
        training.iter().copied(),
        TRAINING.mix(0.25).stroke_width(1),
    ))?;
    chart
        .draw_series(LineSeries::new(smooth(&training), TRAINING.stroke_width(2)))?
        .label("training")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], TRAINING.stroke_width(2)));
    chart
        .draw_series(LineSeries::new(
            validation.iter().map(|(step, loss, _)| (*step, *loss)),
            VALIDATION.stroke_width(2),
        ))?
        .label("validation")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], VALIDATION.stroke_width(2)));
    chart.draw_series(
        validation
            .iter()
            .map(|(step, loss, _)| Circle::new((*step, *loss), 3, VALIDATION.filled())),
    )?;
    let best = validation
        .iter()
        .filter(|(_, _, epoch)| Some(*epoch) == curve.best_epoch);
    chart
        .draw_series(
            best.map(|(step, loss, _)| Circle::new((*step, *loss), 8, VALIDATION.stroke_width(2))),
        )?
        .label("kept (best epoch)")
        .legend(|(x, y)| Circle::new((x + 11, y), 6, VALIDATION.stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .margin(10)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Means over stretches of a hundredth of the run, each at its middle.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let width = points.len().div_ceil(SMOOTH).max(1);
    points
        .chunks(width)
        .map(|chunk| {
            let n = chunk.len() as f64;
            let sum = chunk.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
            (sum.0 / n, sum.1 / n)
        })
        .collect()
}
