//! Matrix products inside slices, on one thread.

/// The layout of a matrix in a slice: its first element, and the distances between rows and between columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Index of the first element.
    pub start: usize,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

impl View {
    /// A slice of rows of this width.
    pub fn rows(width: usize) -> View {
        View {
            start: 0,
            row: width,
            column: 1,
        }
    }

    /// The transpose.
    pub fn t(self) -> View {
        View {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    fn last(self, rows: usize, columns: usize) -> usize {
        self.start + (rows - 1) * self.row + (columns - 1) * self.column
    }
}

/// Number format of the operands of training's matrix products; sums are float32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Products {
    /// float32.
    #[default]
    Float32,
    /// bfloat16 on processors with an instruction for it ([`super::bfloat16::available`]); float32 elsewhere.
    Bfloat16,
}

impl Products {
    /// As [`multiply`].
    #[allow(clippy::too_many_arguments, reason = "the arguments of GEMM")]
    pub(crate) fn multiply(
        self,
        size: (usize, usize, usize),
        a: &[f32],
        a_view: View,
        b: &[f32],
        b_view: View,
        out: &mut [f32],
        out_view: View,
        how: (f32, bool),
    ) {
        let by = match self {
            Products::Bfloat16 if super::bfloat16::available() => super::bfloat16::multiply,
            _ => multiply,
        };
        by(size, a, a_view, b, b_view, out, out_view, how);
    }
}

/// out = factor · a·b, added to what is there where `add` says so; a: [m, k], b: [k, n], out: [m, n].
/// Sizes are at least 1.
#[allow(clippy::too_many_arguments, reason = "the arguments of GEMM")]
pub(crate) fn multiply(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    a_view: View,
    b: &[f32],
    b_view: View,
    out: &mut [f32],
    out_view: View,
    (factor, add): (f32, bool),
) {
    assert!(a_view.last(m, k) < a.len() && b_view.last(k, n) < b.len());
    assert!(out_view.last(m, n) < out.len());
    // SAFETY: the assertions above keep every element of the three matrices inside its slice, and
    // `out` is borrowed mutably, so that it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(out_view.start),
            out_view.column as isize,
            out_view.row as isize,
            add,
            a.as_ptr().add(a_view.start),
            a_view.column as isize,
            a_view.row as isize,
            b.as_ptr().add(b_view.start),
            b_view.column as isize,
            b_view.row as isize,
            1f32,
            factor,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
