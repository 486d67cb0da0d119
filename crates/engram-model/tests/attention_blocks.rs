//! Attention over more positions than one block of queries, compared with elementary operations and automatic
//! differentiation.

use candle_core::{D, Device, Tensor, Var};
use engram_model::kernels::{Dropout, causal_attention};

const HEADS: usize = 3;
const D_HEAD: usize = 8;

fn elementary(qkv: &Tensor, scale: f64) -> Tensor {
    let (batch, t, width) = qkv.dims3().unwrap();
    let d = width / 3;
    let part = |which: usize| {
        let part = qkv.narrow(2, which * d, d).unwrap();
        let part = part.reshape((batch, t, HEADS, D_HEAD)).unwrap();
        part.transpose(1, 2).unwrap().contiguous().unwrap()
    };
    let hidden = (0..t * t).map(|i| if i % t > i / t { -1e9f32 } else { 0.0 });
    let hidden = Tensor::from_vec(hidden.collect(), (t, t), &Device::Cpu).unwrap();
    let scores = part(0).matmul(&part(1).t().unwrap()).unwrap();
    let scores = (scores * scale).unwrap().broadcast_add(&hidden).unwrap();
    let exponentials = scores.exp().unwrap();
    let sums = exponentials.sum_keepdim(D::Minus1).unwrap();
    let z = exponentials
        .broadcast_div(&sums)
        .unwrap()
        .matmul(&part(2))
        .unwrap();
    z.transpose(1, 2).unwrap().reshape((batch, t, d)).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn blocks_join_without_a_seam() {
    for t in [1, 15, 16, 17, 63, 64, 65, 128, 150] {
        let shape = (2, t, 3 * HEADS * D_HEAD);
        let n = 2 * t * 3 * HEADS * D_HEAD;
        let wave = |by: f32| (0..n).map(|i| (i as f32 * by).sin()).collect::<Vec<f32>>();
        let qkv = Tensor::from_vec(wave(0.737), shape, &Device::Cpu).unwrap();
        let weight = Tensor::from_vec(wave(1.931), shape, &Device::Cpu).unwrap();
        let weight = weight.narrow(2, 0, HEADS * D_HEAD).unwrap();
        let run = |f: &dyn Fn(&Tensor) -> Tensor| {
            let variable = Var::from_tensor(&qkv).unwrap();
            let z = f(variable.as_tensor());
            let sum = (&z * &weight).unwrap().sum_all().unwrap();
            let grads = sum.backward().unwrap();
            (values(&z), values(grads.get(variable.as_tensor()).unwrap()))
        };
        let fused = run(&|x| causal_attention(x, HEADS, 0.3, Dropout::NONE).unwrap());
        let plain = run(&|x| elementary(x, 0.3));
        for (a, b) in [(&fused.0, &plain.0), (&fused.1, &plain.1)] {
            assert_eq!(a.len(), b.len());
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() < 2e-5, "{t} positions: {a} {b}");
            }
        }
    }
}

#[test]
fn dropout_keeps_its_expectation_across_blocks() {
    // Values of one and nothing else: z is the sum of what was kept, 1 on average.
    let (t, width) = (150, HEADS * D_HEAD);
    let one = |i: usize| {
        if i % (3 * width) < 2 * width {
            0.1
        } else {
            1.0f32
        }
    };
    let qkv: Vec<f32> = (0..t * 3 * width).map(one).collect();
    let qkv = Tensor::from_vec(qkv, (1, t, 3 * width), &Device::Cpu).unwrap();
    let mut mean = 0.0;
    for seed in 0..20 {
        let mask = Dropout {
            probability: 0.25,
            seed,
        };
        let z = values(&causal_attention(&qkv, HEADS, 0.3, mask).unwrap());
        assert!(z.iter().any(|v| (v - 1.0).abs() > 0.01));
        mean += z.iter().sum::<f32>() / z.len() as f32 / 20.0;
    }
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
}
