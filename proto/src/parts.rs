//! An attestation that is larger than a message, cut and joined again. Both ends keep to [`ATTESTATION_BYTES`]; what is signed is the
//! whole, so that a part that is lost or comes twice proves nothing.

use crate::limits::{ATTESTATION_BYTES, BATCH_BYTES};
use crate::v1::RetestAnswer;

/// The parts of an answer, in their order. An answer that fits one message is its only part.
pub fn split(answer: RetestAnswer) -> Vec<RetestAnswer> {
    let RetestAnswer { mut attestation, signature, more: _ } = answer;
    let mut parts = Vec::with_capacity(1 + attestation.len() / BATCH_BYTES);
    while attestation.len() > BATCH_BYTES {
        let rest = attestation.split_off(BATCH_BYTES);
        parts.push(RetestAnswer { attestation, signature: Vec::new(), more: true });
        attestation = rest;
    }
    parts.push(RetestAnswer { attestation, signature, more: false });
    parts
}

/// Joins the parts of answers, one answer at a time.
#[derive(Debug, Default)]
pub struct Joiner {
    buffered: Vec<u8>,
}

/// The parts of an answer exceed the largest attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("retest_answer.attestation: over {ATTESTATION_BYTES} bytes in all")]
pub struct TooLarge;

impl Joiner {
    /// Takes the next part; answers with the whole when it is the last.
    pub fn take(&mut self, part: RetestAnswer) -> Result<Option<RetestAnswer>, TooLarge> {
        if self.buffered.len() + part.attestation.len() > ATTESTATION_BYTES {
            return Err(TooLarge);
        }
        if self.buffered.is_empty() && !part.more {
            return Ok(Some(part));
        }
        self.buffered.extend_from_slice(&part.attestation);
        if part.more {
            return Ok(None);
        }
        let attestation = std::mem::take(&mut self.buffered);
        Ok(Some(RetestAnswer { attestation, signature: part.signature, more: false }))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::limits::MESSAGE_BYTES;

    fn answer(bytes: usize) -> RetestAnswer {
        let attestation = (0..bytes).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
        RetestAnswer { attestation, signature: vec![7; 70], more: false }
    }

    #[test]
    fn what_is_cut_is_joined_and_every_part_fits_a_message() {
        let mut joiner = Joiner::default();
        for bytes in [0, 1, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 5 * BATCH_BYTES, ATTESTATION_BYTES] {
            let parts = split(answer(bytes));
            assert_eq!(parts.len(), bytes.div_ceil(BATCH_BYTES).max(1));
            assert!(parts.iter().all(|part| part.encoded_len() < MESSAGE_BYTES));
            let joined: Vec<_> = parts.into_iter().filter_map(|part| joiner.take(part).unwrap()).collect();
            assert_eq!(joined, [answer(bytes)], "{bytes} bytes");
        }
    }

    #[test]
    fn parts_without_an_end_are_refused_before_they_fill_the_memory() {
        let mut joiner = Joiner::default();
        let part = || RetestAnswer { attestation: vec![0; BATCH_BYTES], signature: Vec::new(), more: true };
        let taken = (0..).take_while(|_| joiner.take(part()).is_ok()).count();
        assert_eq!(taken, ATTESTATION_BYTES / BATCH_BYTES);
    }
}
