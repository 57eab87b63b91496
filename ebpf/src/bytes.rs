//! Reads what the programs write: fields by offset from a slice, in the machine's own byte order. A slice that is too short yields
//! none; nothing here panics, whatever the kernel sends.

use std::ops::Range;

/// One record.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.array(at)?))
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.array(at)?))
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.array(at)?))
    }

    pub(crate) fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    pub(crate) fn slice(self, range: Range<usize>) -> Option<&'a [u8]> {
        self.0.get(range)
    }
}

/// The bytes before the first zero.
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}
