//! Rows of several worlds at one stage of a block.

use std::ops::Range;

use crate::kernels::scratch;

/// Rows of several worlds at one stage, world after world.
pub(super) struct Band {
    width: usize,
    /// Positions of each world's rows.
    pub ranges: Vec<Range<usize>>,
    starts: Vec<usize>,
    pub data: Vec<f32>,
}

impl Drop for Band {
    fn drop(&mut self) {
        scratch::give(std::mem::take(&mut self.data));
    }
}

impl Band {
    pub fn of(width: usize, ranges: Vec<Range<usize>>, data: Vec<f32>) -> Band {
        let mut rows = 0;
        let starts = ranges
            .iter()
            .map(|r| {
                rows += r.len();
                rows - r.len()
            })
            .collect();
        Band {
            width,
            ranges,
            starts,
            data,
        }
    }

    pub fn zeros(width: usize, ranges: Vec<Range<usize>>) -> Band {
        let rows: usize = ranges.iter().map(Range::len).sum();
        Band::of(width, ranges, scratch::zeros(rows * width))
    }

    pub fn row(&self, world: usize, position: usize) -> Option<&[f32]> {
        let range = &self.ranges[world];
        range.contains(&position).then(|| {
            let row = self.starts[world] + position - range.start;
            &self.data[row * self.width..(row + 1) * self.width]
        })
    }

    pub fn row_mut(&mut self, world: usize, position: usize) -> Option<&mut [f32]> {
        let range = &self.ranges[world];
        range.contains(&position).then(|| {
            let row = self.starts[world] + position - range.start;
            &mut self.data[row * self.width..(row + 1) * self.width]
        })
    }

    /// The same rows and others, which are filled in.
    pub fn widened(
        self,
        ranges: Vec<Range<usize>>,
        mut fill: impl FnMut(usize, usize, &mut [f32]),
    ) -> Band {
        if self.ranges == ranges {
            return self;
        }
        let mut band = Band::zeros(self.width, ranges);
        for world in 0..band.ranges.len() {
            for position in band.ranges[world].clone() {
                let Some(to) = band.row_mut(world, position) else {
                    continue;
                };
                match self.row(world, position) {
                    Some(from) => to.copy_from_slice(from),
                    None => fill(world, position, to),
                }
            }
        }
        band
    }
}
