//! Runs of bytes that mean nothing: how far to the next one that does?
//!
//! The values of a report are nearly all of its bytes, and in a value nothing matters but the byte
//! that ends it, or one that needs a closer look. Instead of asking byte by byte, 32 bytes are
//! compared at once: each comparison yields a vector with all bits set in the lanes where it holds,
//! the vectors are or-ed together, and where any lane is set the lowest one is the answer.
//!
//! Compared as signed numbers, every byte of a multi-byte UTF-8 sequence (0x80 to 0xff) is
//! negative, so that `byte < 0x20` finds control characters and non-ASCII text in one comparison.

use wide::i8x16;

/// Where in `bytes`, at or after `from`, the first byte is that ends a JSON string or needs a
/// closer look: a quote, a backslash, a control character, anything but ASCII. The length of
/// `bytes` where there is none.
#[inline(always)]
pub fn json_text(bytes: &[u8], from: usize) -> usize {
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

/// Like [`json_text`], but passing over what is not ASCII.
#[inline]
pub fn json_text_of_any_script(bytes: &[u8], from: usize) -> usize {
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

/// Where in `bytes`, at or after `from`, the first byte is that ends a CSV field without quotes or
/// needs a closer look: a comma, a quote, a control character (line ends among them), anything but
/// ASCII. The length of `bytes` where there is none.
#[inline(always)]
pub fn csv_text(bytes: &[u8], from: usize) -> usize {
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

/// Where in `bytes`, at or after `from`, the first byte is that ends a quoted CSV field or needs a
/// closer look: a quote, anything but ASCII. The length of `bytes` where there is none.
#[inline(always)]
pub fn csv_quoted_text(bytes: &[u8], from: usize) -> usize {
    find(
        bytes,
        from,
        |lanes| lanes.simd_lt(i8x16::splat(0)) | lanes.simd_eq(i8x16::splat(b'"' as i8)),
        |byte| byte >= 0x80 || byte == b'"',
    )
}

const LANES: usize = 16;

/// The first place at or after `from` where `stops` holds; `stops_in_lanes` is the same question
/// asked of 16 bytes.
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

    type Run = fn(&[u8], usize) -> usize;
    type Matters = fn(u8) -> bool;

    /// Every byte value at every place of three blocks, against the definition in words.
    #[test]
    fn finds_the_first_byte_that_matters_wherever_it_lies() {
        let runs: [(Run, Matters); 4] = [
            (json_text, |b| {
                !(0x20..0x80).contains(&b) || b == b'"' || b == b'\\'
            }),
            (json_text_of_any_script, |b| {
                b < 0x20 || b == b'"' || b == b'\\'
            }),
            (csv_text, |b| {
                !(0x20..0x80).contains(&b) || b == b'"' || b == b','
            }),
            (csv_quoted_text, |b| b >= 0x80 || b == b'"'),
        ];
        for (run, matters) in runs {
            for byte in 0..=u8::MAX {
                for place in 0..70 {
                    let mut bytes = [b'a'; 70];
                    bytes[place] = byte;
                    let expected = if matters(byte) { place } else { 70 };
                    assert_eq!(run(&bytes, 0), expected, "0x{byte:02x} at {place}");
                    assert_eq!(run(&bytes, place), expected, "0x{byte:02x} from {place}");
                    assert_eq!(run(&bytes, place + 1), 70, "0x{byte:02x} after {place}");
                }
            }
        }
    }
}
