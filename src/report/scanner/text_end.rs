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
    find(
        bytes,
        from,
        |lanes| {
            lanes.simd_lt(i8x16::splat(0x20))
                | lanes.simd_eq(i8x16::splat(b'"' as i8))
                | lanes.simd_eq(i8x16::splat(b'\\' as i8))
        },
        |byte| !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\',
    )
}

/// Finds a quote, a backslash, or a control character.
#[inline]
pub fn json_any_script(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |lanes| {
            (lanes.simd_lt(i8x16::splat(0x20)) & lanes.simd_gt(i8x16::splat(-1)))
                | lanes.simd_eq(i8x16::splat(b'"' as i8))
                | lanes.simd_eq(i8x16::splat(b'\\' as i8))
        },
        |byte| byte < 0x20 || byte == b'"' || byte == b'\\',
    )
}

/// Finds a comma, a quote, a control character (including line ends), or anything that is not ASCII.
#[inline(always)]
pub fn csv(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |lanes| {
            lanes.simd_lt(i8x16::splat(0x20))
                | lanes.simd_eq(i8x16::splat(b',' as i8))
                | lanes.simd_eq(i8x16::splat(b'"' as i8))
        },
        |byte| !(0x20..0x80).contains(&byte) || byte == b',' || byte == b'"',
    )
}

/// Finds a quote, or anything that is not ASCII.
#[inline(always)]
pub fn csv_quoted(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |lanes| lanes.simd_lt(i8x16::splat(0)) | lanes.simd_eq(i8x16::splat(b'"' as i8)),
        |byte| byte >= 0x80 || byte == b'"',
    )
}

const LANES: usize = 16;

/// Finds the first byte for which `stops` is true; `stops_in_lanes` is the same predicate for 16
/// bytes.
#[inline(always)]
fn find(
    bytes: &[u8],
    from: usize,
    stops_in_lanes: impl Fn(i8x16) -> i8x16,
    stops: impl Fn(u8) -> bool,
) -> usize {
    let mut at = from;
    while let Some(block) = bytes.get(at..at + 2 * LANES) {
        let low = stops_in_lanes(lanes(&block[..LANES]));
        let high = stops_in_lanes(lanes(&block[LANES..]));
        if (low | high).any() {
            let mask = low.to_bitmask() | high.to_bitmask() << LANES;
            return at + mask.trailing_zeros() as usize;
        }
        at += 2 * LANES;
    }
    bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|&byte| stops(byte)))
        .map_or(bytes.len(), |offset| at + offset)
}

#[inline(always)]
fn lanes(bytes: &[u8]) -> i8x16 {
    i8x16::from_ne_bytes(bytes.try_into().expect("a block is cut to 16 bytes"))
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
