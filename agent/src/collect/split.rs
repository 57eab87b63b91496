//! Cuts a body into JSON values while it arrives: the items of a list, the lines of a watch.
//!
//! A list of 10,000 Deployments is 36 MB and one of them 4 KB: only one is ever held. The cutter counts brackets and
//! respects strings; whether a value has the right form is for the projection to say, item by item.

use serde::Deserialize;

use crate::api::Refusal;

/// The largest single object. etcd takes 1.5 MiB; this leaves room for whatever the API server adds.
const ITEM_BYTES: usize = 8 * 1024 * 1024;
/// The largest envelope: a list without its items.
const ENVELOPE_BYTES: usize = 64 * 1024;

/// `ListMeta`: where a list stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMeta {
    /// The version to watch from.
    pub resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl ListMeta {
    /// What the next page is asked with; `None` after the last one.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref().filter(|next| !next.is_empty())
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    metadata: ListMeta,
}

/// Cuts one list (`{"metadata":…,"items":[…]}`) into its items and its envelope.
#[derive(Debug, Default)]
pub struct Items {
    /// Everything but the items.
    envelope: Vec<u8>,
    /// The beginning of an item whose end has not arrived.
    partial: Vec<u8>,
    depth: u32,
    in_items: bool,
    in_string: bool,
    escaped: bool,
}

impl Items {
    /// Takes in the next bytes and gives every item that is complete now.
    pub fn feed(&mut self, bytes: &[u8], mut item: impl FnMut(&[u8])) -> Result<(), Refusal> {
        let mut start = 0; // of the item or envelope piece that is being read
        for (i, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth += 1;
                    if self.in_items && self.depth == 3 {
                        start = i;
                    } else if !self.in_items && self.depth == 2 && byte == b'[' {
                        self.envelope.extend_from_slice(&bytes[start..=i]);
                        start = i + 1;
                        self.in_items = ends_with_items_key(&self.envelope);
                    }
                }
                b'}' | b']' => {
                    self.depth = self.depth.checked_sub(1).ok_or_else(broken)?;
                    if self.in_items && self.depth == 2 {
                        self.complete(&bytes[start..=i], &mut item);
                        start = i + 1;
                    } else if self.in_items && self.depth == 1 {
                        self.in_items = false;
                        start = i;
                    }
                }
                _ => {}
            }
        }
        self.keep(&bytes[start..])
    }

    /// The list's own metadata, once the body has ended.
    pub fn finish(self) -> Result<ListMeta, Refusal> {
        let envelope = serde_json::from_slice::<Envelope>(&self.envelope()?);
        envelope.map(|envelope| envelope.metadata).map_err(|_| broken())
    }

    fn envelope(self) -> Result<Vec<u8>, Refusal> {
        if self.depth == 0 && !self.envelope.is_empty() { Ok(self.envelope) } else { Err(broken()) }
    }

    fn complete(&mut self, end: &[u8], item: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() {
            item(end);
        } else {
            self.partial.extend_from_slice(end);
            item(&self.partial);
            self.partial.clear();
        }
    }

    /// Keeps what is left of the bytes, for the next ones to continue.
    fn keep(&mut self, rest: &[u8]) -> Result<(), Refusal> {
        let (kept, limit) = match (self.in_items, self.depth) {
            (true, 2) => return Ok(()), // between two items
            (true, _) => (&mut self.partial, ITEM_BYTES),
            (false, _) => (&mut self.envelope, ENVELOPE_BYTES),
        };
        kept.extend_from_slice(rest);
        if kept.len() > limit { Err(too_large(limit)) } else { Ok(()) }
    }
}

fn ends_with_items_key(envelope: &[u8]) -> bool {
    let mut tail = envelope.iter().rev().filter(|byte| !byte.is_ascii_whitespace());
    b"[:\"smeti\"".iter().all(|wanted| tail.next() == Some(wanted))
}

/// Cuts a watch into its lines.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes in the next bytes and gives every line that is complete now, without its end.
    pub fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) -> Result<(), Refusal> {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            if self.partial.is_empty() {
                line(&bytes[..end]);
            } else {
                self.partial.extend_from_slice(&bytes[..end]);
                line(&self.partial);
                self.partial.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > ITEM_BYTES { Err(too_large(ITEM_BYTES)) } else { Ok(()) }
    }
}

fn broken() -> Refusal {
    Refusal::Failing("the API server's list is no complete JSON object".to_owned())
}

fn too_large(limit: usize) -> Refusal {
    Refusal::Failing(format!("one object of the API server's answer is larger than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(body: &str, chunk: usize) -> (Vec<String>, Result<String, Refusal>) {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for bytes in body.as_bytes().chunks(chunk) {
            if let Err(refusal) = items.feed(bytes, |item| found.push(String::from_utf8(item.to_vec()).unwrap())) {
                return (found, Err(refusal));
            }
        }
        (found, items.envelope().map(|envelope| String::from_utf8(envelope).unwrap()))
    }

    #[test]
    fn items_and_envelope_come_apart_wherever_the_body_is_cut() {
        let body = r#"{"kind":"PodList","metadata":{"items":[1],"a":"]}\\\""},"items": [ {"a":["}"]} , {"b":{"items":[{}]}}],"z":1}"#;
        for chunk in 1..body.len() + 1 {
            let (items, envelope) = cut(body, chunk);
            assert_eq!(items, [r#"{"a":["}"]}"#, r#"{"b":{"items":[{}]}}"#], "chunks of {chunk}");
            let envelope = envelope.unwrap();
            assert_eq!(envelope, r#"{"kind":"PodList","metadata":{"items":[1],"a":"]}\\\""},"items": [],"z":1}"#);
        }
    }

    #[test]
    fn a_body_that_ends_early_is_no_list() {
        let body = r#"{"metadata":{},"items":[{"a":1}]}"#;
        for end in 0..body.len() {
            assert!(cut(&body[..end], 7).1.is_err(), "{end} bytes");
        }
        assert!(cut("}", 1).1.is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(prop::sample::select(br#"{}[]",:\ai"#.to_vec()), 0..200)) {
            let mut items = Items::default();
            let _ = items.feed(&body, |_| {});
            let _ = items.finish();
        }
    }

    #[test]
    fn lines_come_out_whole_wherever_the_body_is_cut() {
        for chunk in 1..12 {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for bytes in b"ab\n\ncde\nf".chunks(chunk) {
                lines.feed(bytes, |line| found.push(line.to_vec())).unwrap();
            }
            assert_eq!(found, [b"ab".to_vec(), b"".to_vec(), b"cde".to_vec()]);
        }
    }
}
