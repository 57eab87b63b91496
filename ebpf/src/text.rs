//! Strings of processes as text for people. A process chooses its own name, paths and arguments; they must not be able to move a
//! cursor, forge a line or fill a page.

/// The longest string that leaves this crate, in bytes.
pub const MAX_BYTES: usize = 256;

/// Escapes what doesn't print and cuts what is too long. Bytes that are no UTF-8 become `\xNN`.
pub fn escaped(bytes: &[u8]) -> String {
    if is_plain(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut text, character));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        if text.len() > MAX_BYTES {
            break;
        }
    }
    cut(text)
}

/// The same without a copy where nothing has to be escaped.
pub(crate) fn escaped_owned(bytes: Vec<u8>) -> String {
    if !is_plain(&bytes) {
        return escaped(&bytes);
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether nothing has to be escaped or cut, as with nearly every name.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_BYTES && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn push(text: &mut String, character: char) {
    match character {
        // Zero-width and bidirectional marks make a name look like another one.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
            text.extend(character.escape_unicode());
        }
        control if control.is_control() => text.extend(control.escape_default()),
        plain => text.push(plain),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
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
        assert_eq!(escaped(b"nginx"), "nginx");
        assert_eq!(escaped(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(escaped("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(escaped(b"\xff\xfe"), "\\xff\\xfe");
    }

    #[test]
    fn a_long_string_is_cut_and_ends_in_an_ellipsis() {
        let text = escaped("ä".repeat(400).as_bytes());
        assert!(text.len() <= MAX_BYTES && text.ends_with('…'), "{text}");
    }
}
