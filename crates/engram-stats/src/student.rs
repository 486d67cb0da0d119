//! Tails and quantiles of Student's t, F and the noncentral t.
//!
//! Tails use statrs's incomplete beta function directly, because its upper tail of F loses digits far out. Its inverse
//! is accurate to a few digits only for some arguments, so quantiles are found by bisection.

use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

/// P(|T| ≥ |t|), `df` degrees of freedom.
pub(crate) fn t_two_sided(t: f64, df: f64) -> f64 {
    beta_reg(df / 2.0, 0.5, df / (df + t * t))
}

/// The t that |T| exceeds with probability `alpha` in (0, 1).
pub(crate) fn t_critical(alpha: f64, df: f64) -> f64 {
    where_falling(alpha, |t| t_two_sided(t, df))
}

/// P(F ≥ `f`).
pub(crate) fn f_upper(f: f64, df1: f64, df2: f64) -> f64 {
    // A quadratic form may come out below 0 by rounding.
    beta_reg(df2 / 2.0, df1 / 2.0, df2 / (df2 + df1 * f.max(0.0)))
}

/// The value that F exceeds with probability `tail` in (0, 1).
pub(crate) fn f_critical(tail: f64, df1: f64, df2: f64) -> f64 {
    where_falling(tail, |f| f_upper(f, df1, df2))
}

/// The x > 0 at which a falling function has come down to `target`, up to rounding.
pub(crate) fn where_falling(target: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while f(high) > target && high < 1e300 {
        low = high;
        high *= 2.0;
    }
    // An f64 has no more than 1,100 halvings in it, and 60 suffice away from zero.
    for _ in 0..1100 {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high || high - low <= 1e-15 * high {
            break;
        }
        if f(middle) > target {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// P(T > `t`) of the noncentral t: a normal of mean `delta` and variance 1 over
/// S = √(χ²/df). P(T > t) = ∫ Φ(δ − t s) f(s) ds, by the trapezoidal rule in
/// u = ln s, whose error is exponentially small in the number of steps as the
/// integrand is smooth and vanishes at both ends.
pub(crate) fn noncentral_t_upper(t: f64, df: f64, delta: f64) -> f64 {
    // ln f(u) = df (u − (e²ᵘ − 1) / 2) + constant, which is below −40 outside:
    // at most −df u² above 0, −⅔ df u² from −½ to 0 and df (u + ½) below.
    let high = (40.0 / df).sqrt();
    let near = (60.0 / df).sqrt();
    let low = if near <= 0.5 { near } else { 40.0 / df + 0.5 };
    // Short for the density, and for Φ where it turns.
    let short = 0.1 / (2.0 * df).sqrt().max(1.0 + delta.abs());
    // Where δ is in the thousands, power is 1 and steps may be too long for Φ.
    let step = short.max((low + high) / 1e5);
    let log_scale = (df / 2.0).ln() * (df / 2.0) + 2.0_f64.ln() - ln_gamma(df / 2.0);
    let density = |u: f64| (log_scale + df * u - df / 2.0 * (2.0 * u).exp()).exp();
    let upper = |z: f64| 0.5 * erfc(z / std::f64::consts::SQRT_2);
    let steps = ((low + high) / step).ceil() as usize;
    let sum: f64 = (0..=steps)
        .map(|i| {
            let u = i as f64 * step - low;
            density(u) * upper(t * u.exp() - delta)
        })
        .sum();
    (sum * step).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_undo_tails() {
        for df in [1.0, 2.0, 7.5, 40.0, 1e4, 1e6] {
            for alpha in [1e-6, 0.01, 0.05, 0.5, 0.9] {
                let t = t_critical(alpha, df);
                let back = t_two_sided(t, df);
                assert!((back / alpha - 1.0).abs() < 1e-8, "{df} {alpha} {t} {back}");
                let f = f_critical(alpha, 3.0, df);
                let back = f_upper(f, 3.0, df);
                assert!((back / alpha - 1.0).abs() < 1e-8, "{df} {alpha} {f} {back}");
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
                assert!(
                    (found - expected).abs() < 1e-10,
                    "{df} {t} {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn at_zero_it_is_normal() {
        // P(T > 0) = P(Z > −δ), whatever the degrees of freedom.
        for df in [1.0, 4.0, 100.0] {
            let expected = 0.5 * erfc(-1.3 / std::f64::consts::SQRT_2);
            assert!((noncentral_t_upper(0.0, df, 1.3) - expected).abs() < 1e-10);
        }
    }
}
