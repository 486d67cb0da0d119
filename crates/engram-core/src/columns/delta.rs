//! Sums the lengths in Parquet's delta encoding before a decoder allocates for them (parquet-format, `Encodings.md`:
//! DELTA_BINARY_PACKED).

use super::thrift::{Fault, Thrift};

/// The contents of a stream of lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Number of lengths.
    pub count: usize,
    /// Their sum.
    pub sum: u64,
    /// Size of the stream in bytes.
    pub end: usize,
}

/// Sums a stream of at most `most` lengths.
pub(super) fn lengths(bytes: &[u8], most: usize) -> Result<Lengths, Fault> {
    let mut stream = Thrift::new(bytes);
    let block = stream.varint()?;
    let minis = stream.varint()?;
    let count = stream.varint()?;
    let mut last = stream.zigzag()?;
    let per_mini = block.checked_div(minis).ok_or(Fault::Broken)?;
    let odd = block > 1 << 20 || !block.is_multiple_of(128) || !block.is_multiple_of(minis);
    if odd || per_mini == 0 || !per_mini.is_multiple_of(32) || count > most as u64 {
        return Err(Fault::Broken);
    }
    let length = |value: i64| u64::try_from(value).map_err(|_| Fault::Broken);
    let mut sum = if count == 0 { 0 } else { length(last)? };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = stream.zigzag()?;
        let widths = stream.take(minis as usize)?;
        for &width in widths {
            if left == 0 {
                // Decoders treat the rest of the last block as empty.
                break;
            }
            if width > 32 {
                return Err(Fault::Broken);
            }
            let packed = stream.take(per_mini as usize * usize::from(width) / 8)?;
            for index in 0..per_mini.min(left) as usize {
                let delta = bits(packed, index * usize::from(width), width);
                last = last.wrapping_add(least).wrapping_add(delta);
                sum = sum.saturating_add(length(last)?);
            }
            left -= per_mini.min(left);
        }
    }
    Ok(Lengths {
        count: count as usize,
        sum,
        end: stream.at(),
    })
}

/// Reads `width` bits starting at bit `from`, least significant first.
fn bits(bytes: &[u8], from: usize, width: u8) -> i64 {
    (0..usize::from(width)).fold(0, |value, k| {
        let bit = bytes[(from + k) / 8] >> ((from + k) % 8) & 1;
        value | i64::from(bit) << k
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two examples of the specification: 1, 2, 3, 4, 5 and 7, 5, 3, 1, 2, 3, 4, 5, in blocks of 128 and four
    /// mini blocks.
    #[test]
    fn the_examples_of_the_specification() {
        let head = |count, first| vec![0x80, 0x01, 4, count, first];
        let mut plain = head(5, 2);
        plain.extend([2, 0, 0, 0, 0]);
        let found = lengths(&plain, 5).unwrap();
        assert_eq!((found.count, found.sum, found.end), (5, 15, 10));
        // Deltas −2 −2 −2 1 1 1 1, less the least (−2): 0 0 0 3 3 3 3, in two bits.
        let mut down = head(8, 14);
        down.extend([3, 2, 0, 0, 0, 0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
        let found = lengths(&down, 8).unwrap();
        assert_eq!((found.count, found.sum, found.end), (8, 30, 18));
    }

    #[test]
    fn claims_beyond_the_page_are_refused() {
        let count = |bytes: &[u8]| lengths(bytes, 100).map(|l| l.count);
        assert_eq!(count(&[0x80, 0x01, 4, 101, 0]), Err(Fault::Broken));
        assert_eq!(count(&[0x80, 0x01, 0, 5, 0]), Err(Fault::Broken));
        assert_eq!(count(&[0x80, 0x01, 4, 5, 1]), Err(Fault::Broken));
        assert_eq!(count(&[0x80, 0x01, 4, 5, 2, 2, 32]), Err(Fault::Short));
        assert_eq!(count(&[0x80, 0x01, 4, 0, 0]), Ok(0));
    }
}
