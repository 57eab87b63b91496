//! Splits a stream of bytes into documents, one at a time, without parsing any.
//!
//! YAML 1.2 (9.1.2) forbids a line that starts with `---` or `...` and a space or its end anywhere inside a document, block
//! scalars and quoted text included, so such a line at column 0 is always a boundary and an indented one never is. JSON
//! text cannot hold one either. Directives and comments before `---` belong to the document that follows.
//! Memory is bounded by the limit on one document: what is longer is read past and reported, and the rest goes on.

use std::io::{self, BufRead, Read};

/// One document's text and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// Counted from 1, empty documents included.
    pub number: usize,
    /// Line of its first byte, counted from 1.
    pub line: usize,
    /// The text, from its directives or its `---` on.
    pub text: Vec<u8>,
    /// Whether the text was cut off because the document is larger than the limit.
    pub too_large: bool,
}

/// Reads documents off a stream.
pub struct Splitter<R> {
    from: R,
    limit: usize,
    /// Lines read so far.
    lines: usize,
    number: usize,
    next: Pending,
    done: bool,
}

#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    line: usize,
    /// `---` was seen.
    marked: bool,
    /// There is something beside comments, blank lines and directives.
    content: bool,
    too_large: bool,
}

/// What one line is to the stream.
#[derive(PartialEq)]
enum Line {
    Start,
    End,
    Blank,
    Content,
}

impl<R: BufRead> Splitter<R> {
    /// Splits what `from` yields into documents of at most `limit` bytes.
    pub fn new(from: R, limit: usize) -> Self {
        Self { from, limit, lines: 0, number: 0, next: Pending::default(), done: false }
    }

    /// The next document that has any content; `None` at the end of the stream.
    pub fn next_document(&mut self) -> io::Result<Option<Document>> {
        while !self.done {
            let Some(start) = self.read_line()? else {
                self.done = true;
                return Ok(self.finish(Vec::new(), false));
            };
            self.lines += 1;
            if self.lines == 1 && self.next.text.starts_with(b"\xef\xbb\xbf") {
                self.next.text.drain(..3);
            }
            if self.next.line == 0 {
                self.next.line = self.lines;
            }
            if let Some(document) = self.take_line(start) {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    fn take_line(&mut self, start: usize) -> Option<Document> {
        match classify(&self.next.text[start..], self.next.marked || self.next.content) {
            Line::Start if self.next.marked || self.next.content => {
                let marker = self.next.text.split_off(start);
                self.finish(marker, true)
            }
            Line::Start => {
                self.next.marked = true;
                self.next.content = has_content_after_marker(&self.next.text[start..]);
                None
            }
            Line::End => {
                self.next.text.truncate(start);
                self.finish(Vec::new(), false)
            }
            Line::Blank => None,
            Line::Content => {
                self.next.content = true;
                None
            }
        }
    }

    /// Appends one line to the pending text, but never more than the limit of it. Answers where the line starts.
    fn read_line(&mut self) -> io::Result<Option<usize>> {
        let mut start = self.next.text.len();
        let room = (self.limit + 1).saturating_sub(start).max(MARKER_BYTES) as u64;
        let read = self.from.by_ref().take(room).read_until(b'\n', &mut self.next.text)?;
        if read == 0 {
            return Ok(None);
        }
        if !self.next.text.ends_with(b"\n") {
            self.next.too_large |= self.skip_line()? > 0;
        }
        if self.next.text.len() > self.limit {
            self.next.too_large = true;
            // Keep the head, which says what the document is, and enough of this line to see whether it is a boundary.
            let mut line = self.next.text.split_off(start);
            line.truncate(MARKER_BYTES);
            self.next.text.truncate(HEAD_BYTES);
            start = self.next.text.len();
            self.next.text.extend_from_slice(&line);
        }
        Ok(Some(start))
    }

    fn skip_line(&mut self) -> io::Result<usize> {
        let mut skipped = 0;
        loop {
            let buffer = self.from.fill_buf()?;
            let (used, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.from.consume(used);
            skipped += used;
            if ended {
                return Ok(skipped);
            }
        }
    }

    /// Ends the pending document; `marker` is the `---` line that starts the next one.
    fn finish(&mut self, marker: Vec<u8>, marked: bool) -> Option<Document> {
        let content = marked && has_content_after_marker(&marker);
        let line = if marked { self.lines } else { 0 };
        let done = std::mem::replace(&mut self.next, Pending { text: marker, line, marked, content, too_large: false });
        if !done.marked && !done.content {
            return None;
        }
        self.number += 1;
        let Pending { text, line, content, too_large, .. } = done;
        content.then_some(Document { number: self.number, line, text, too_large })
    }
}

/// How much of an oversized document is kept, to name what it is.
const HEAD_BYTES: usize = 4096;
/// How much of a line tells whether it is a boundary, and whether something follows the marker.
const MARKER_BYTES: usize = 8;

fn classify(line: &[u8], inside: bool) -> Line {
    let marker = |mark: &[u8]| line.starts_with(mark) && line.get(3).is_none_or(u8::is_ascii_whitespace);
    match line.first() {
        Some(b'-') if marker(b"---") => Line::Start,
        Some(b'.') if marker(b"...") => Line::End,
        Some(b'%') if !inside => Line::Blank,
        _ => match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None | Some(b'#') => Line::Blank,
            _ => Line::Content,
        },
    }
}

fn has_content_after_marker(line: &[u8]) -> bool {
    line.iter().skip(3).find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(usize, usize, String)> {
        let mut splitter = Splitter::new(text.as_bytes(), 1000);
        std::iter::from_fn(|| splitter.next_document().unwrap())
            .map(|d| (d.number, d.line, String::from_utf8(d.text).unwrap()))
            .collect()
    }

    #[test]
    fn documents_are_numbered_and_know_their_line() {
        assert_eq!(split("a: 1\n---\nb: 2\n"), [(1, 1, "a: 1\n".into()), (2, 2, "---\nb: 2\n".into())]);
    }

    #[test]
    fn a_leading_marker_and_comments_start_the_first_document() {
        assert_eq!(split("# note\n\n---\na: 1\n"), [(1, 1, "# note\n\n---\na: 1\n".into())]);
    }

    #[test]
    fn empty_documents_are_counted_and_not_returned() {
        assert_eq!(split("---\n---\n# only a comment\n---\na: 1"), [(3, 4, "---\na: 1".into())]);
        assert_eq!(split(""), []);
        assert_eq!(split("---\n"), []);
    }

    #[test]
    fn a_marker_is_a_boundary_inside_a_block_scalar_only_at_column_0() {
        assert_eq!(split("a: |\n  ---\n  x\nb: 1\n"), [(1, 1, "a: |\n  ---\n  x\nb: 1\n".into())]);
        assert_eq!(split("a: |\n---\nb: 1\n").len(), 2);
        assert_eq!(split("a: |\n ---x\n---x: 1\n").len(), 1);
    }

    #[test]
    fn three_dots_end_a_document_and_directives_belong_to_the_next() {
        let documents = split("a: 1\n...\n%YAML 1.2\n---\nb: 2\n...\n");
        assert_eq!(documents, [(1, 1, "a: 1\n".into()), (2, 3, "%YAML 1.2\n---\nb: 2\n".into())]);
    }

    #[test]
    fn a_percent_sign_inside_a_document_is_content() {
        assert_eq!(split("a: 1\n%b\n"), [(1, 1, "a: 1\n%b\n".into())]);
    }

    #[test]
    fn crlf_bom_and_content_on_the_marker_line_are_understood() {
        assert_eq!(split("\u{feff}a: 1\r\n---\r\nb: 2\r\n").len(), 2);
        assert_eq!(split("--- {a: 1}\n--- # note\nb: 2\n").len(), 2);
    }

    #[test]
    fn an_oversized_document_is_cut_and_the_next_one_is_whole() {
        let text = format!("kind: Big\nx: {}\n---\nb: 2\n", "y".repeat(5000));
        let mut splitter = Splitter::new(text.as_bytes(), 100);
        let big = splitter.next_document().unwrap().unwrap();
        assert!(
            big.too_large && big.text.len() <= HEAD_BYTES + 2 * MARKER_BYTES && big.text.starts_with(b"kind: Big\n")
        );
        let next = splitter.next_document().unwrap().unwrap();
        assert_eq!((next.number, next.line, next.too_large), (2, 3, false));
        assert_eq!(next.text, b"---\nb: 2\n");
    }

    #[test]
    fn many_short_lines_beyond_the_limit_keep_memory_bounded() {
        let text = format!("{}---\nb: 2\n", "- item\n".repeat(10_000));
        let mut splitter = Splitter::new(text.as_bytes(), 100);
        let big = splitter.next_document().unwrap().unwrap();
        assert!(big.too_large && big.text.len() <= HEAD_BYTES + 2 * MARKER_BYTES);
        assert_eq!(splitter.next_document().unwrap().unwrap().line, 10_001);
    }
}
