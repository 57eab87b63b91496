//! Strings made harmless for a terminal: control characters, escape sequences, and the characters that reorder or hide text
//! are shown as `\u{…}` instead of obeyed. What is printable, in any script, stays as it is.

/// One line: line breaks are shown too.
pub fn line(text: &str) -> String {
    escape(text, is_harmful)
}

/// Several lines: line breaks stay.
pub fn block(text: &str) -> String {
    escape(text, |c| c != '\n' && is_harmful(c))
}

/// Whether a character could steer a terminal or mislead a reader.
pub fn is_harmful(c: char) -> bool {
    c.is_control() || reorders(c) || is_invisible(c)
}

fn escape(text: &str, harmful: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmful(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Unicode's bidirectional controls (Trojan Source, CVE-2021-42574).
fn reorders(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Zero-width characters, line and paragraph separators, interlinear marks, tags: they hide text or break lines.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}'
        | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_sequence_is_shown_and_not_obeyed() {
        assert_eq!(line("a\x1b[31mred\x1b]0;title\x07"), r"a\u{1b}[31mred\u{1b}]0;title\u{7}");
        assert_eq!(line("eight-bit \u{9b}31m"), r"eight-bit \u{9b}31m");
    }

    #[test]
    fn text_that_reorders_or_hides_is_shown() {
        assert_eq!(line("web\u{202e}bad\u{2066}\u{200b}\u{e0041}"), r"web\u{202e}bad\u{2066}\u{200b}\u{e0041}");
    }

    #[test]
    fn a_line_stays_one_line_and_a_block_keeps_its_lines() {
        assert_eq!(line("a\nb\r\tc"), r"a\nb\r\tc");
        assert_eq!(block("a\nb\r"), "a\nb\\r");
    }

    #[test]
    fn ordinary_text_of_any_script_is_untouched() {
        for text in ["żółw", "Привет", "עברית", "日本語", "naïve – “quoted”", "🦀"] {
            assert_eq!(line(text), text);
        }
    }
}
