//! Strings from outside, made fit to be shown, logged and sent: one line, no control characters, bounded.
//!
//! Everything that leaves for the aggregator passes through [`clip`]; everything for people through [`line`].

use holdfast_model::limits::STRING_BYTES;

/// Room for the mark at the end of a string that was cut.
const CUT: &str = "…";

/// The text with control characters escaped, cut to the wire's limit on a character's boundary.
pub fn clip(text: &str) -> String {
    clip_to(text, STRING_BYTES)
}

/// The same for people: a sentence, not a page.
pub fn line(text: &str) -> String {
    clip_to(text.trim(), 512)
}

fn clip_to(text: &str, limit: usize) -> String {
    if text.len() <= limit && !text.chars().any(unfit) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        let before = out.len();
        if unfit(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        if out.len() > limit - CUT.len() {
            out.truncate(before);
            out.push_str(CUT);
            break;
        }
    }
    out
}

/// Control characters, and the ones that reorder or hide what stands around them.
fn unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_escaped() {
        assert_eq!(clip("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(clip("käse"), "käse");
    }

    #[test]
    fn a_cut_falls_on_a_characters_boundary_and_within_the_limit() {
        for text in ["ä".repeat(STRING_BYTES), "\n".repeat(STRING_BYTES), "x".repeat(STRING_BYTES + 1)] {
            let cut = clip(&text);
            assert!(cut.len() <= STRING_BYTES && cut.ends_with(CUT), "{}", cut.len());
        }
        assert_eq!(clip(&"x".repeat(STRING_BYTES)).len(), STRING_BYTES);
    }
}
