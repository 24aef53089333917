//! Parquet's hybrid of runs and packed bits, in which levels and positions in a dictionary are
//! written: a run is its length doubled and the number, packed groups of eight are their count
//! doubled and one, and the bits.

/// Bits that the numbers up to `largest` need.
pub(super) fn bit_width(largest: usize) -> u8 {
    u8::try_from(usize::BITS - largest.leading_zeros()).unwrap_or(u8::MAX)
}

/// Numbers as Parquet's hybrid of runs and packed groups of eight.
pub(super) fn encode_hybrid(numbers: &[u32], width: u8, out: &mut Vec<u8>) {
    let (mut packed_from, mut at) = (0, 0);
    while at < numbers.len() {
        let number = numbers[at];
        let run = numbers[at..].iter().take_while(|other| **other == number).count();
        // A run begins where a group of eight ends; what fills the group stays packed.
        let fill = (8 - (at - packed_from) % 8) % 8;
        if run >= fill + 8 {
            encode_packed(&numbers[packed_from..at + fill], width, out);
            encode_run(number, run - fill, width, out);
            packed_from = at + run;
        }
        at += run;
    }
    encode_packed(&numbers[packed_from..], width, out);
}

/// One run of `length` times the same number.
pub(super) fn encode_run(number: u32, length: usize, width: u8, out: &mut Vec<u8>) {
    push_varint(length << 1, out);
    let bytes = usize::from(width.div_ceil(8));
    out.extend(&number.to_le_bytes()[..bytes]);
}

fn encode_packed(numbers: &[u32], width: u8, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    let groups = numbers.len().div_ceil(8);
    push_varint(groups << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut bits, mut filled) = (0_u64, 0);
    for number in numbers {
        bits |= u64::from(*number) << filled;
        filled += u32::from(width);
        while filled >= 32 {
            out.extend(&bits.to_le_bytes()[..4]);
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
    // The last group is padded with zeros.
    out.resize(end, 0);
}

fn push_varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The numbers as the format's text says to read them, one bit after the other.
    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let header = varint(&mut bytes);
            let number_bytes = usize::from(width.div_ceil(8));
            let groups = header >> 1;
            if header & 1 == 0 {
                let mut number = [0; 4];
                number[..number_bytes].copy_from_slice(&bytes[..number_bytes]);
                bytes = &bytes[number_bytes..];
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(number), groups));
            } else {
                let packed = &bytes[..groups * usize::from(width)];
                bytes = &bytes[packed.len()..];
                numbers.extend((0..groups * 8).map(|at| {
                    (0..usize::from(width)).fold(0, |number, bit| {
                        let position = at * usize::from(width) + bit;
                        number | u32::from(packed[position / 8] >> (position % 8) & 1) << bit
                    })
                }));
            }
        }
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        // Only the last group may be padded.
        assert!(numbers.len() < count + 8);
        numbers.truncate(count);
        numbers
    }

    fn varint(bytes: &mut &[u8]) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            number |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    #[test]
    fn widths_are_those_of_the_largest_number() {
        let widths = [0, 1, 2, 3, 4, 255, 256, 65_535, 65_536].map(bit_width);
        assert_eq!(widths, [0, 1, 2, 2, 3, 8, 9, 16, 17]);
    }

    #[test]
    fn a_long_run_takes_a_few_bytes() {
        let mut bytes = Vec::new();
        let numbers = vec![5; 100_000];
        encode_hybrid(&numbers, 3, &mut bytes);
        assert_eq!(decode(&bytes, 3, 100_000), numbers);
        assert!(bytes.len() <= 8, "{bytes:?}");
    }

    proptest! {
        #[test]
        fn numbers_are_read_back_whatever_their_runs(
            runs in vec((any::<u32>(), prop_oneof![1..4_usize, 6..20_usize]), 0..60),
            width in 1..=25_u8,
        ) {
            let mask = (1_u32 << width) - 1;
            let numbers: Vec<u32> = runs
                .iter()
                .flat_map(|(number, length)| std::iter::repeat_n(number & mask, *length))
                .collect();
            let mut bytes = Vec::new();
            encode_hybrid(&numbers, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, numbers.len()), numbers);
        }
    }
}
