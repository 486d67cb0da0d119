//! Tails and quantiles of Student's t, of F and of the noncentral t.

use statrs::function::beta::{beta_reg, inv_beta_reg};
use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

/// P(|T| ≥ |t|), `df` degrees of freedom.
pub(crate) fn t_two_sided(t: f64, df: f64) -> f64 {
    beta_reg(df / 2.0, 0.5, df / (df + t * t))
}

/// The t that |T| exceeds with probability `alpha` in (0, 1).
pub(crate) fn t_critical(alpha: f64, df: f64) -> f64 {
    let y = inv_beta_reg(df / 2.0, 0.5, alpha);
    (df * (1.0 - y) / y).sqrt()
}

/// P(F ≥ `f`).
pub(crate) fn f_upper(f: f64, df1: f64, df2: f64) -> f64 {
    beta_reg(df2 / 2.0, df1 / 2.0, df2 / (df2 + df1 * f))
}

/// The value that F exceeds with probability `tail` in (0, 1).
pub(crate) fn f_critical(tail: f64, df1: f64, df2: f64) -> f64 {
    let y = inv_beta_reg(df2 / 2.0, df1 / 2.0, tail);
    df2 * (1.0 - y) / (df1 * y)
}

/// P(T > `t`) of the noncentral t: a normal of mean `delta` and variance 1 over
/// S = √(χ²/df). Integrated over S, P(T > t) = ∫ Φ(δ − t s) f(s) ds, by Simpson's
/// rule over all of S that matters, in steps that are short for both factors.
pub(crate) fn noncentral_t_upper(t: f64, df: f64, delta: f64) -> f64 {
    let width = 9.0 / (2.0 * df).sqrt();
    let (low, high) = ((1.0 - width).max(0.0), 1.0 + width);
    let per_unit = (200.0 / width).max(20.0 * t.abs());
    let steps = 2 * ((high - low) * per_unit).ceil() as usize;
    let step = (high - low) / steps as f64;
    let log_scale = (df / 2.0).ln() * (df / 2.0) + 2.0_f64.ln() - ln_gamma(df / 2.0);
    let density = |s: f64| {
        // s⁰ is 1 at 0 too; other powers are 0 there.
        let power = if df == 1.0 { 0.0 } else { (df - 1.0) * s.ln() };
        (log_scale + power - df * s * s / 2.0).exp()
    };
    let upper = |z: f64| 0.5 * erfc(z / std::f64::consts::SQRT_2);
    let sum: f64 = (0..=steps)
        .map(|i| {
            let s = low + i as f64 * step;
            let weight = match i {
                0 => 1.0,
                i if i == steps => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * density(s) * upper(t * s - delta)
        })
        .sum();
    (sum * step / 3.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_undo_tails() {
        for df in [1.0, 2.0, 7.5, 40.0, 1e4, 1e7] {
            for alpha in [1e-6, 0.01, 0.05, 0.5, 0.9] {
                let t = t_critical(alpha, df);
                assert!((t_two_sided(t, df) / alpha - 1.0).abs() < 1e-8, "{df} {alpha}");
                let f = f_critical(alpha, 3.0, df);
                assert!((f_upper(f, 3.0, df) / alpha - 1.0).abs() < 1e-8, "{df} {alpha}");
            }
        }
    }

    #[test]
    fn without_noncentrality_it_is_students_t() {
        for df in [1.0, 2.0, 3.5, 30.0, 5000.0] {
            for t in [-2.0, 0.0, 0.7, 2.5, 12.7] {
                let half = t_two_sided(t, df) / 2.0;
                let expected = if t < 0.0 { 1.0 - half } else { half };
                let found = noncentral_t_upper(t, df, 0.0);
                assert!((found - expected).abs() < 1e-9, "{df} {t} {found} {expected}");
            }
        }
    }

    #[test]
    fn at_zero_it_is_normal() {
        // P(T > 0) = P(Z > −δ), whatever the degrees of freedom.
        for df in [1.0, 4.0, 100.0] {
            let expected = 0.5 * erfc(-1.3 / std::f64::consts::SQRT_2);
            assert!((noncentral_t_upper(0.0, df, 1.3) - expected).abs() < 1e-9);
        }
    }
}
