//! Attention of the ends of runs, and its gradient.

use super::*;

impl Ending<'_> {
    /// Position of each row, run after run.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        let each = self.rows.iter().zip(&self.starts);
        each.flat_map(|(rows, start)| *start..start + rows.len())
    }

    /// Queries and keys of the rows as they meet; empty where that changes nothing.
    pub(super) fn met(&self, block: &Block, qkv: &[f32]) -> Vec<f32> {
        if !block.turns_or_normalises() {
            return Vec::new();
        }
        let (d_qkv, width) = (self.front.d_qkv(), self.met_width());
        let mut met = Vec::with_capacity(qkv.len() / d_qkv * width);
        for (position, row) in self.positions().zip(qkv.chunks_exact(d_qkv)) {
            let start = met.len();
            met.extend_from_slice(&row[..width]);
            self.front
                .meet(block, &self.caches, position, &mut met[start..]);
        }
        met
    }

    /// Width of queries and keys side by side.
    pub(super) fn met_width(&self) -> usize {
        self.front.shape.d_queries() + self.front.shape.d_keys()
    }

    /// Keys and values that a run's rows see: those of the unpatched run before its start, then its own.
    fn seen<'v>(
        &'v self,
        layer: usize,
        run: usize,
        qkv: &'v [f32],
        met: &'v [f32],
    ) -> [Vec<&'v [f32]>; 2] {
        let cache = &self.caches.layers[layer];
        let first = self.caches.first_row(run);
        let before = first..first + self.starts[run];
        let before = before.map(|row| self.front.row_parts(&cache.qkv, &cache.met, row));
        let own = self.rows[run].clone();
        let own = own.map(|row| self.front.row_parts(qkv, met, row));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for [_, key, value] in before.chain(own) {
            keys.push(key);
            values.push(value);
        }
        [keys, values]
    }

    /// Attention of the rows: values weighted, and each run's patterns.
    pub(super) fn attend(
        &self,
        layer: usize,
        qkv: &[f32],
        met: &[f32],
    ) -> (Vec<f32>, Vec<Vec<f32>>) {
        let (heads, d_z) = (self.front.blocks[layer].heads, self.front.shape.d_queries());
        let attend = |(run, rows): (usize, &Range<usize>)| {
            let [keys, values] = self.seen(layer, run, qkv, met);
            let mut z = vec![0f32; rows.len() * d_z];
            let mut patterns = vec![0f32; rows.len() * heads.count * keys.len()];
            let each = rows.clone().zip(z.chunks_exact_mut(d_z));
            let of_rows = patterns.chunks_exact_mut(heads.count * keys.len());
            for (((row, z), patterns), query) in each.zip(of_rows).zip(self.starts[run]..) {
                let [q, ..] = self.front.row_parts(qkv, met, row);
                let of_heads = patterns.chunks_exact_mut(keys.len());
                for (head, (z, p)) in z.chunks_exact_mut(heads.width).zip(of_heads).enumerate() {
                    probabilities(heads, head, q, &keys, query, p);
                    weigh(heads, head, &p[..query + 1], &values, z);
                }
            }
            (z, patterns)
        };
        let found: Vec<(Vec<f32>, Vec<f32>)> =
            self.rows.par_iter().enumerate().map(attend).collect();
        let (z, patterns): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        (z.concat(), patterns)
    }

    /// The gradient at queries, keys and values as projected, [rows, d_qkv].
    pub(super) fn attend_back(&self, layer: usize, trace: &BlockTrace, of_z: &[f32]) -> Vec<f32> {
        let (front, block) = (self.front, &self.front.blocks[layer]);
        let (heads, d_z, d_qkv) = (block.heads, front.shape.d_queries(), front.d_qkv());
        let (of_keys, of_values) = (d_z, d_z + front.shape.d_keys());
        let back = |(run, rows): (usize, &Range<usize>)| {
            let start = self.starts[run];
            let [keys, values] = self.seen(layer, run, &trace.qkv, &trace.met);
            let mut out = vec![0f32; rows.len() * d_qkv];
            let mut scores = vec![0f32; keys.len()];
            for (at, row) in rows.clone().enumerate() {
                let query = start + at;
                let [q, ..] = front.row_parts(&trace.qkv, &trace.met, row);
                for head in 0..heads.count {
                    let own = head * heads.width..(head + 1) * heads.width;
                    let of_z = &of_z[row * d_z..][own.clone()];
                    let p = &trace.patterns[run][(at * heads.count + head) * keys.len()..];
                    let (p, scores) = (&p[..query + 1], &mut scores[..query + 1]);
                    score_gradients(heads, head, q, &keys, &values, p, of_z, scores);
                    let of_q = &mut out[at * d_qkv..][own.clone()];
                    weigh(heads, head, scores, &keys, of_q);
                    let serving = heads.serving(head);
                    for (later, key) in (start..=query).enumerate() {
                        let of_row = &mut out[later * d_qkv..(later + 1) * d_qkv];
                        let of_key = &mut of_row[of_keys..][serving.clone()];
                        let each = of_key.iter_mut().zip(&q[own.clone()]);
                        each.for_each(|(o, q)| *o += scores[key] * q);
                        let of_value = &mut of_row[of_values..][serving.clone()];
                        let each = of_value.iter_mut().zip(of_z);
                        each.for_each(|(o, z)| *o += p[key] * z);
                    }
                }
            }
            let raw = &trace.qkv[rows.start * d_qkv..rows.end * d_qkv];
            let each = out.chunks_exact_mut(d_qkv).zip(raw.chunks_exact(d_qkv));
            for ((of_row, raw), position) in each.zip(start..) {
                front.meet_back(block, &self.caches, position, raw, of_row);
            }
            out
        };
        let found: Vec<Vec<f32>> = self.rows.par_iter().enumerate().map(back).collect();
        found.concat()
    }
}

impl Wavefront {
    /// The gradient at queries and keys as projected from that as they meet, in place; `raw` is the row as projected.
    fn meet_back(
        &self,
        block: &Block,
        caches: &Caches,
        position: usize,
        raw: &[f32],
        grad: &mut [f32],
    ) {
        let queries = self.shape.d_queries();
        let width = queries + self.shape.d_keys();
        let grad = &mut grad[..width];
        if let Some(turns) = caches.turns_at(self, block, position) {
            for head in grad.chunks_exact_mut(self.shape.d_head) {
                let (first, second) = head.split_at_mut(turns.len());
                for ((a, b), turn) in first.iter_mut().zip(second).zip(turns) {
                    (*a, *b) = (*a * turn.cos + *b * turn.sin, *b * turn.cos - *a * turn.sin);
                }
            }
        }
        if let Some((of_queries, of_keys)) = &block.query_key_norms {
            let given = grad.to_vec();
            grad.fill(0.0);
            let (q, k) = grad.split_at_mut(queries);
            of_queries.backward_onto(&raw[..queries], &given[..queries], q);
            of_keys.backward_onto(&raw[queries..width], &given[queries..], k);
        }
    }
}
