//! Elementary functions that the compiler can vectorise.

/// e^x in float32 to about 1 ulp over the normal range; 0 below −87.3, +inf above 88.7, NaN for NaN.
///
/// Cody–Waite reduction x = n·ln 2 + r, |r| ≤ ½ ln 2, then a degree-6 polynomial in r: branch-free,
/// so that a loop over it becomes vector code.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Rounds to the nearest integer by pushing the fraction out of the significand.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.7);
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let p = p * r * r + r + 1.0;
    // 2^n in two halves: n may be 128, which one exponent field cannot hold.
    let n = n as i32;
    let half = n >> 1;
    let two = |k: i32| f32::from_bits(((k + 127) << 23) as u32);
    let value = p * two(half) * two(n - half);
    let value = if x < -87.3 { 0.0 } else { value };
    let value = if x > 88.7 { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_close_everywhere() {
        let mut worst = 0f64;
        for i in 0..1_000_000 {
            let x = -87.0 + 175.6 * (i as f32) / 1_000_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
