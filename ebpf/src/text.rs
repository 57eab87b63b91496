//! Words of processes as text for people: whoever runs a process chooses its name, paths and arguments, and must not be able
//! to move a cursor, forge a line or fill a page with them.

/// At most so many bytes of one word leave this crate.
pub const LONGEST: usize = 256;

/// Escapes what doesn't print and cuts what is too long. Bytes that are no UTF-8 become `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    if is_plain(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut text, character));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        if text.len() > LONGEST {
            break;
        }
    }
    cut(text)
}

/// The same of bytes that nobody else needs.
pub(crate) fn shown_whole(bytes: Vec<u8>) -> String {
    if !is_plain(&bytes) {
        return shown(&bytes);
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Nearly every name is.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn push(text: &mut String, character: char) {
    match character {
        // Marks that turn the direction of writing print nothing, and make a name look like another.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            text.extend(character.escape_unicode());
        }
        control if control.is_control() => text.extend(control.escape_default()),
        plain => text.push(plain),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_cannot_move_the_cursor_or_turn_the_text() {
        assert_eq!(shown(b"nginx"), "nginx");
        assert_eq!(shown(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(shown("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(shown(b"\xff\xfe"), "\\xff\\xfe");
    }

    #[test]
    fn a_long_word_is_cut_and_says_so() {
        let text = shown("ä".repeat(400).as_bytes());
        assert!(text.len() <= LONGEST && text.ends_with('…'), "{text}");
    }
}
