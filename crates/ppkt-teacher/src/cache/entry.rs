//! One entry: a header of 128 bytes, then a map in half precision, `[h, w, C]`, little endian.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `ppktmap` and the version of the layout |
//! | 8..40 | the key |
//! | 40..52 | rows, columns and channels of the map, u32 |
//! | 52..56 | CRC-32C of the map's bytes |
//! | 56..60 | CRC-32C of bytes 0..56 |
//! | 60..128 | zero |

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::key::Key;

const MAGIC: [u8; 8] = *b"ppktmap\x01";
const HEADER: usize = 128;
const CHECKED: usize = 56;

/// Values that are widened at once: few enough to stay in the first-level cache.
const AT_ONCE: usize = 1024;

/// Rows, columns and channels of a map.
pub(super) type Shape = [usize; 3];

/// Bytes of an entry with `values` values.
pub(super) fn size_of_entry(values: usize) -> u64 {
    (HEADER + 2 * values) as u64
}

/// The bytes of an entry.
pub(super) fn encode(key: &Key, shape: Shape, values: &[f16]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes.reserve_exact(2 * values.len());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..40].copy_from_slice(&key.0);
    for (field, side) in bytes[40..52].as_chunks_mut::<4>().0.iter_mut().zip(shape) {
        *field = (side as u32).to_le_bytes();
    }
    let map = crc32c::crc32c(&bytes[HEADER..]);
    bytes[52..56].copy_from_slice(&map.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..CHECKED]);
    bytes[CHECKED..60].copy_from_slice(&header.to_le_bytes());
    bytes
}

/// Widens the map of an entry into `out`, or says what is wrong with the entry; `out` is then undefined.
pub(super) fn decode(bytes: &[u8], key: &Key, shape: Shape, out: &mut [f32]) -> Result<(), &'static str> {
    let (Some(header), Some(map)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else {
        return Err("it is shorter than a header");
    };
    let number = |at: usize| header[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    if header[..8] != MAGIC {
        return Err("it is no feature map of this layout");
    }
    if number(CHECKED) != crc32c::crc32c(&header[..CHECKED]) || header[60..].iter().any(|b| *b != 0) {
        return Err("its header is damaged");
    }
    if header[8..40] != key.0 {
        return Err("it is the map of another image or teacher");
    }
    if [40, 44, 48].map(|at| number(at) as usize) != shape || map.len() != 2 * out.len() {
        return Err("it is of another size");
    }
    if number(52) != crc32c::crc32c(map) {
        return Err("its checksum is wrong");
    }
    let mut part = [f16::ZERO; AT_ONCE];
    for (bytes, out) in map.chunks(2 * AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
        let part = &mut part[..out.len()];
        for (half, pair) in part.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*pair);
        }
        part.convert_to_f32_slice(out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = [2, 3, 500];

    fn entry() -> (Key, Vec<f16>, Vec<u8>) {
        let values: Vec<f16> = (0..3000).map(|i| f16::from_f32((i as f32 * 0.37).sin() * 40.0)).collect();
        let key = Key(std::array::from_fn(|i| i as u8));
        let bytes = encode(&key, SHAPE, &values);
        (key, values, bytes)
    }

    fn decoded(bytes: &[u8], key: &Key) -> Result<Vec<f32>, &'static str> {
        let mut out = vec![0.0; 3000];
        decode(bytes, key, SHAPE, &mut out).map(|()| out)
    }

    #[test]
    fn an_entry_gives_back_what_was_put_in() {
        let (key, values, bytes) = entry();
        assert_eq!(bytes.len() as u64, size_of_entry(values.len()));
        let wanted: Vec<f32> = values.iter().map(|v| v.to_f32()).collect();
        assert_eq!(decoded(&bytes, &key).unwrap(), wanted);
    }

    #[test]
    fn every_changed_byte_and_every_length_is_seen() {
        let (key, _, bytes) = entry();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(decoded(&damaged, &key).is_err(), "byte {at}");
        }
        for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            assert!(decoded(&bytes[..length], &key).is_err(), "{length} bytes");
        }
        assert!(decoded(&[&bytes[..], &[0]].concat(), &key).is_err());
        assert!(decoded(&bytes, &Key([7; 32])).is_err());
        let mut out = vec![0.0; 3000];
        assert!(decode(&bytes, &key, [3, 2, 500], &mut out).is_err());
        assert!(decode(&bytes, &key, [2, 3, 499], &mut out[..2994]).is_err());
    }
}
