//! Tensor types: their block layouts, and which of them can be read.

use super::dequantise::{self as d, Decode};

/// A tensor type: elements are stored in blocks of fixed size.
#[derive(Debug)]
pub struct TensorType {
    number: u32,
    /// The format's name for it.
    pub name: &'static str,
    /// Elements per block.
    pub elements: usize,
    /// Bytes per block.
    pub bytes: usize,
    /// Converts whole blocks to float32; `None` if the type is not supported.
    pub(super) decode: Option<Decode>,
}

impl TensorType {
    pub(super) fn numbered(number: u32) -> Option<&'static TensorType> {
        TYPES.iter().find(|t| t.number == number)
    }

    /// Names of the supported types.
    pub(super) fn readable() -> String {
        let names = TYPES.iter().filter(|t| t.decode.is_some()).map(|t| t.name);
        names.collect::<Vec<_>>().join(", ")
    }
}

const fn row(
    number: u32,
    name: &'static str,
    (elements, bytes): (usize, usize),
    decode: Option<Decode>,
) -> TensorType {
    TensorType {
        number,
        name,
        elements,
        bytes,
        decode,
    }
}

/// All types of the format. Unsupported ones are listed so that a file that contains them can still be checked, and its
/// other tensors read.
static TYPES: [TensorType; 34] = [
    row(0, "F32", (1, 4), Some(d::f32)),
    row(1, "F16", (1, 2), Some(d::f16)),
    row(30, "BF16", (1, 2), Some(d::bf16)),
    row(2, "Q4_0", (32, 18), Some(d::q4_0)),
    row(3, "Q4_1", (32, 20), Some(d::q4_1)),
    row(6, "Q5_0", (32, 22), Some(d::q5_0)),
    row(7, "Q5_1", (32, 24), Some(d::q5_1)),
    row(8, "Q8_0", (32, 34), Some(d::q8_0)),
    row(10, "Q2_K", (256, 84), Some(d::q2_k)),
    row(11, "Q3_K", (256, 110), Some(d::q3_k)),
    row(12, "Q4_K", (256, 144), Some(d::q4_k)),
    row(13, "Q5_K", (256, 176), Some(d::q5_k)),
    row(14, "Q6_K", (256, 210), Some(d::q6_k)),
    row(15, "Q8_K", (256, 292), Some(d::q8_k)),
    row(9, "Q8_1", (32, 36), None),
    row(16, "IQ2_XXS", (256, 66), None),
    row(17, "IQ2_XS", (256, 74), None),
    row(18, "IQ3_XXS", (256, 98), None),
    row(19, "IQ1_S", (256, 50), None),
    row(20, "IQ4_NL", (32, 18), None),
    row(21, "IQ3_S", (256, 110), None),
    row(22, "IQ2_S", (256, 82), None),
    row(23, "IQ4_XS", (256, 136), None),
    row(24, "I8", (1, 1), None),
    row(25, "I16", (1, 2), None),
    row(26, "I32", (1, 4), None),
    row(27, "I64", (1, 8), None),
    row(28, "F64", (1, 8), None),
    row(29, "IQ1_M", (256, 56), None),
    row(34, "TQ1_0", (256, 54), None),
    row(35, "TQ2_0", (256, 66), None),
    row(39, "MXFP4", (32, 17), None),
    row(40, "NVFP4", (64, 36), None),
    row(41, "Q1_0", (128, 18), None),
];
