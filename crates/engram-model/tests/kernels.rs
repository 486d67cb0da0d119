//! Backward passes against finite differences, forward passes against plain tensor operations.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use engram_model::kernels::{
    Dropout, add_bias, attention_probabilities, causal_attention, cross_entropy, dropout,
    elementary, gelu_new, layer_norm,
};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f32) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    for (i, (a, b)) in values(a).into_iter().zip(values(b)).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "{what}[{i}]: {a} against {b}"
        );
    }
}

/// Compares every input's gradient of Σ w·f(inputs) with central differences in float32.
fn check_gradients(what: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|t| Var::from_tensor(t).unwrap())
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = f(&tensors).unwrap();
    let weight = random(out.dims(), 99);
    let loss = (out * &weight).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    let at = |inputs: &[Tensor]| -> f64 {
        let out = f(inputs).unwrap();
        values(&(out * &weight).unwrap())
            .iter()
            .map(|v| f64::from(*v))
            .sum()
    };
    for (which, input) in inputs.iter().enumerate() {
        let gradient = gradients
            .get(&vars[which])
            .unwrap_or_else(|| panic!("{what}: input {which} has no gradient"));
        let gradient = values(gradient);
        let base = values(input);
        let step = 1e-2f32;
        for i in (0..base.len()).step_by(base.len().div_ceil(24)) {
            let moved = |delta: f32| {
                let mut moved = base.clone();
                moved[i] += delta;
                let mut all = inputs.to_vec();
                all[which] = Tensor::from_vec(moved, input.dims(), &Device::Cpu).unwrap();
                at(&all)
            };
            let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            let error = (slope - f64::from(gradient[i])).abs();
            assert!(
                error <= 3e-3 * slope.abs().max(1.0),
                "{what}: input {which}, element {i}: gradient {} against slope {slope}",
                gradient[i]
            );
        }
    }
}

#[test]
fn layer_norm_forward_and_backward() {
    let (x, w, b) = (random(&[3, 70, 37], 1), random(&[37], 2), random(&[37], 3));
    let mean = x.mean_keepdim(D::Minus1).unwrap();
    let centred = x.broadcast_sub(&mean).unwrap();
    let variance = centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
    let plain = centred
        .broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap())
        .unwrap()
        .broadcast_mul(&w)
        .unwrap()
        .broadcast_add(&b)
        .unwrap();
    close(
        "layer_norm",
        &layer_norm(&x, &w, &b, 1e-5).unwrap(),
        &plain,
        1e-5,
    );
    let x = random(&[2, 3, 18], 4);
    let (w, b) = (random(&[18], 5), random(&[18], 6));
    check_gradients("layer_norm", &[x, w, b], |t| {
        layer_norm(&t[0], &t[1], &t[2], 1e-5)
    });
}

#[test]
fn gelu_forward_and_backward() {
    let x = (random(&[5, 1001], 1) * 8.0).unwrap();
    close("gelu_new", &gelu_new(&x).unwrap(), &x.gelu().unwrap(), 2e-6);
    check_gradients("gelu_new", &[(random(&[4, 9], 2) * 3.0).unwrap()], |t| {
        gelu_new(&t[0])
    });
}

#[test]
fn bias_forward_and_backward() {
    let (x, b) = (random(&[150, 7], 1), random(&[7], 2));
    close(
        "add_bias",
        &add_bias(&x, &b).unwrap(),
        &x.broadcast_add(&b).unwrap(),
        0.0,
    );
    check_gradients("add_bias", &[x, b], |t| add_bias(&t[0], &t[1]));
}

#[test]
fn cross_entropy_forward_and_backward() {
    let x = (random(&[9, 83], 1) * 5.0).unwrap();
    let targets: Vec<u32> = (0..9).map(|i| i * 9).collect();
    let found = cross_entropy(&x, &targets).unwrap();
    let max = x.max_keepdim(1).unwrap();
    let shifted = x.broadcast_sub(&max).unwrap();
    let log_sum = shifted
        .exp()
        .unwrap()
        .sum_keepdim(1)
        .unwrap()
        .log()
        .unwrap();
    let log_probabilities = shifted.broadcast_sub(&log_sum).unwrap();
    let index = Tensor::from_vec(targets.clone(), (9, 1), &Device::Cpu).unwrap();
    let plain = log_probabilities
        .gather(&index, 1)
        .unwrap()
        .neg()
        .unwrap()
        .squeeze(1)
        .unwrap();
    close("cross_entropy", &found, &plain, 1e-5);
    check_gradients("cross_entropy", &[x], |t| cross_entropy(&t[0], &targets));
    assert!(cross_entropy(&random(&[1, 4], 1), &[4]).is_err());
    assert!(cross_entropy(&random(&[2, 4], 1), &[0]).is_err());
}

#[test]
fn attention_forward_and_backward() {
    let (batch, positions, heads, d_head) = (3, 21, 4, 5);
    let width = heads * d_head;
    let qkv = random(&[batch, positions, 3 * width], 1);
    let scale = 0.6;
    let fused = causal_attention(&qkv, heads, scale, Dropout::NONE).unwrap();
    let part = |i: usize| {
        qkv.narrow(2, i * width, width)
            .unwrap()
            .contiguous()
            .unwrap()
            .reshape((batch, positions, heads, d_head))
            .unwrap()
    };
    let pattern = attention_probabilities(&part(0), &part(1), scale).unwrap();
    // Rows of the pattern are probabilities over what the query may see.
    for row in values(&pattern.sum(3).unwrap()) {
        assert!((row - 1.0).abs() < 1e-5);
    }
    let v = part(2).transpose(1, 2).unwrap().contiguous().unwrap();
    let plain = pattern.matmul(&v).unwrap().transpose(1, 2).unwrap();
    let plain = plain
        .contiguous()
        .unwrap()
        .reshape((batch, positions, width))
        .unwrap();
    close("causal_attention", &fused, &plain, 1e-5);
    let qkv = random(&[2, 7, 3 * 6], 2);
    check_gradients("causal_attention", std::slice::from_ref(&qkv), |t| {
        causal_attention(&t[0], 3, 0.7, Dropout::NONE)
    });
    let mask = Dropout::new(0.3, Some(5), 1);
    check_gradients("causal_attention with dropout", &[qkv], |t| {
        causal_attention(&t[0], 3, 0.7, mask)
    });
}

#[test]
fn attention_sees_no_later_position() {
    let qkv = random(&[1, 12, 3 * 8], 3);
    let mut later = values(&qkv);
    for v in &mut later[7 * 24..] {
        *v += 1.0;
    }
    let later = Tensor::from_vec(later, (1, 12, 24), &Device::Cpu).unwrap();
    let run = |x: &Tensor| values(&causal_attention(x, 2, 0.5, Dropout::NONE).unwrap());
    assert_eq!(run(&qkv)[..7 * 8], run(&later)[..7 * 8]);
    assert_ne!(run(&qkv)[7 * 8..], run(&later)[7 * 8..]);
}

#[test]
fn dropout_keeps_the_mean_and_its_backward_is_its_mask() {
    let ones = Tensor::ones((400, 250), DType::F32, &Device::Cpu).unwrap();
    let mask = Dropout::new(0.1, Some(7), 3);
    let dropped = values(&dropout(&ones, mask).unwrap());
    let zeros = dropped.iter().filter(|v| **v == 0.0).count() as f64 / dropped.len() as f64;
    // Six standard errors of a proportion of 0.1 in 100,000.
    assert!(
        (zeros - 0.1).abs() < 6.0 * (0.09f64 / 1e5).sqrt(),
        "{zeros}"
    );
    let mean = dropped.iter().sum::<f32>() / dropped.len() as f32;
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
    assert_eq!(dropped, values(&dropout(&ones, mask).unwrap()));
    let other = Dropout::new(0.1, Some(8), 3);
    assert_ne!(dropped, values(&dropout(&ones, other).unwrap()));
    check_gradients("dropout", &[random(&[6, 9], 1)], |t| dropout(&t[0], mask));
    assert_eq!(Dropout::new(0.1, None, 3), Dropout::NONE);
}

#[test]
fn threads_change_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let x = Var::from_tensor(&random(&[300, 24], 1)).unwrap();
            let (w, b) = (random(&[24], 2), random(&[24], 3));
            let y = gelu_new(&layer_norm(&x, &w, &b, 1e-5).unwrap()).unwrap();
            let y = y.reshape((10, 30, 24)).unwrap();
            let z = causal_attention(&y, 2, 0.5, Dropout::NONE).unwrap();
            let loss = cross_entropy(&z.reshape((300, 8)).unwrap(), &[3; 300]).unwrap();
            let gradients = loss.sum_all().unwrap().backward().unwrap();
            values(gradients.get(&x).unwrap())
        })
    };
    assert_eq!(run(1), run(3));
}

/// The device that the elementary operations are held to the fused ones on: the CPU, or what
/// `ENGRAM_TEST_DEVICE` names (docs/gpu.md).
fn device() -> Device {
    let name = std::env::var("ENGRAM_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    engram_model::device(&name).unwrap()
}

/// Value and every gradient of an operation made of elementary ones, on the device of the tests, against the fused one.
fn check_elementary(
    what: &str,
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let run = |device: &Device, f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
        let vars: Vec<Var> = (inputs.iter())
            .map(|t| Var::from_tensor(&t.to_device(device).unwrap()).unwrap())
            .collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let out = f(&tensors).unwrap();
        let weight = random(out.dims(), 99).to_device(device).unwrap();
        let loss = (&out * &weight).unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        let found = vars.iter().map(|v| gradients.get(v).unwrap().clone());
        let all: Vec<Tensor> = std::iter::once(out).chain(found).collect();
        all.iter()
            .map(|t| t.to_device(&Device::Cpu).unwrap())
            .collect::<Vec<Tensor>>()
    };
    let expected = run(&Device::Cpu, &fused);
    let found = run(&device(), &plain);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        close(&format!("{what}, {i}"), found, expected, 2e-5);
    }
}

#[test]
fn elementary_operations_are_the_fused_ones() {
    let (x, w, b) = (random(&[3, 70, 37], 1), random(&[37], 2), random(&[37], 3));
    check_elementary(
        "layer_norm",
        &[x.clone(), w, b.clone()],
        |t| layer_norm(&t[0], &t[1], &t[2], 1e-5),
        |t| elementary::layer_norm(&t[0], &t[1], &t[2], 1e-5),
    );
    check_elementary(
        "add_bias",
        &[x.clone(), b],
        |t| add_bias(&t[0], &t[1]),
        |t| elementary::add_bias(&t[0], &t[1]),
    );
    check_elementary(
        "gelu_new",
        &[(&x * 4.0).unwrap()],
        |t| gelu_new(&t[0]),
        |t| elementary::gelu_new(&t[0]),
    );
    let targets: Vec<u32> = (0..9).map(|i| i * 9).collect();
    check_elementary(
        "cross_entropy",
        &[(random(&[9, 83], 4) * 5.0).unwrap()],
        |t| cross_entropy(&t[0], &targets),
        |t| elementary::cross_entropy(&t[0], &targets),
    );
    let (q, k) = (random(&[2, 9, 3, 5], 6), random(&[2, 9, 3, 5], 7));
    let there = |t: &Tensor| t.to_device(&device()).unwrap();
    close(
        "attention_probabilities",
        &elementary::attention_probabilities(&there(&q), &there(&k), 0.4)
            .and_then(|p| p.to_device(&Device::Cpu))
            .unwrap(),
        &attention_probabilities(&q, &k, 0.4).unwrap(),
        1e-5,
    );
    for positions in [1, 7, 129] {
        check_elementary(
            "causal_attention",
            &[random(&[2, positions, 3 * 12], 5)],
            |t| causal_attention(&t[0], 3, 0.7, Dropout::NONE),
            |t| elementary::causal_attention(&t[0], 3, 0.7, Dropout::NONE, None),
        );
    }
    let ones = there(&Tensor::ones((400, 250), DType::F32, &Device::Cpu).unwrap());
    let dropped = elementary::dropout(&ones, Dropout::new(0.1, Some(7), 3)).unwrap();
    let mean = dropped.mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
}

#[test]
fn devices_that_are_not_there_are_named() {
    assert!(engram_model::device("cpu").unwrap().is_cpu());
    for (name, why) in [("tpu", "cpu, cuda or cuda:N"), ("cuda:x", "cuda:N")] {
        let error = engram_model::device(name).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
    if !cfg!(feature = "cuda") {
        let error = engram_model::device("cuda:0").unwrap_err().to_string();
        assert!(error.contains("docs/gpu.md"), "{error}");
    }
}
