//! Finds where plain text ends, 32 bytes at a time.
//!
//! Plain text ends at the byte that ends the value, or at one that needs a closer look. Each
//! comparison yields a vector with all bits set in the lanes where it is true; the vectors are or-ed
//! together, and the lowest lane that is set is the result.
//!
//! As signed numbers, all bytes of multi-byte UTF-8 sequences (0x80 to 0xff) are negative, so that
//! `byte < 0x20` finds control characters and non-ASCII text in one comparison.
//!
//! Every function returns the offset of the byte that it finds at or after `from`, or the length of
//! `bytes`.

use wide::i8x16;

/// Finds a quote, a backslash, a control character, or anything that is not ASCII.
#[inline(always)]
pub fn json(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |lanes| {
        below_space(lanes) | equal(lanes, b'"') | equal(lanes, b'\\')
    })
}

/// Finds a quote, a backslash, or a control character.
#[inline]
pub fn json_any_script(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |lanes| {
        let is_ascii = lanes.simd_gt(i8x16::splat(-1));
        (below_space(lanes) & is_ascii) | equal(lanes, b'"') | equal(lanes, b'\\')
    })
}

/// Finds a comma, a quote, a control character (including line ends), or anything that is not ASCII.
#[inline(always)]
pub fn csv(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |lanes| {
        below_space(lanes) | equal(lanes, b'"') | equal(lanes, b',')
    })
}

/// Finds a quote, or anything that is not ASCII.
#[inline(always)]
pub fn csv_quoted(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, |lanes| {
        lanes.simd_lt(i8x16::ZERO) | equal(lanes, b'"')
    })
}

#[inline(always)]
fn below_space(lanes: i8x16) -> i8x16 {
    lanes.simd_lt(i8x16::splat(0x20))
}

#[inline(always)]
fn equal(lanes: i8x16, byte: u8) -> i8x16 {
    lanes.simd_eq(i8x16::splat(byte as i8))
}

const LANES: usize = 16;

/// Finds the first byte for which `stops` is true; every search stops at a quote.
#[inline(always)]
fn find(bytes: &[u8], from: usize, stops: impl Fn(i8x16) -> i8x16) -> usize {
    let first_stop = |block: &[u8; 2 * LANES]| {
        let ([low, high], []) = block.as_chunks::<LANES>() else {
            unreachable!("a block has 32 bytes")
        };
        let low = stops(i8x16::from_ne_bytes(*low));
        let high = stops(i8x16::from_ne_bytes(*high));
        (low | high)
            .any()
            .then(|| (low.to_bitmask() | high.to_bitmask() << LANES).trailing_zeros() as usize)
    };
    let mut at = from;
    loop {
        let rest = &bytes[at..];
        if let Some(block) = rest.first_chunk() {
            if let Some(offset) = first_stop(block) {
                return at + offset;
            }
            at += 2 * LANES;
        } else {
            let mut last = [b'"'; 2 * LANES];
            last[..rest.len()].copy_from_slice(rest);
            return at + first_stop(&last).unwrap_or(rest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Search = fn(&[u8], usize) -> usize;
    type Matters = fn(u8) -> bool;

    /// Every byte value at every offset of three blocks.
    #[test]
    fn first_matching_byte_is_found_at_every_offset() {
        let searches: [(Search, Matters); 4] = [
            (json, |b| {
                !(0x20..0x80).contains(&b) || b == b'"' || b == b'\\'
            }),
            (json_any_script, |b| b < 0x20 || b == b'"' || b == b'\\'),
            (csv, |b| {
                !(0x20..0x80).contains(&b) || b == b'"' || b == b','
            }),
            (csv_quoted, |b| b >= 0x80 || b == b'"'),
        ];
        for (search, matters) in searches {
            for byte in 0..=u8::MAX {
                for offset in 0..70 {
                    let mut bytes = [b'a'; 70];
                    bytes[offset] = byte;
                    let expected = if matters(byte) { offset } else { 70 };
                    assert_eq!(search(&bytes, 0), expected, "0x{byte:02x} at {offset}");
                    assert_eq!(
                        search(&bytes, offset),
                        expected,
                        "0x{byte:02x} from {offset}"
                    );
                    assert_eq!(
                        search(&bytes, offset + 1),
                        70,
                        "0x{byte:02x} after {offset}"
                    );
                }
            }
        }
    }
}
