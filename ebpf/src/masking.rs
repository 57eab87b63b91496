//! Arguments of programs -> what may leave the node: names of flags, never their values.
//!
//! Pure. A secret can be anywhere: after `=`, as the next argument, attached to a short flag, in a URL, in an assignment. So only
//! what has the form of a flag's name is kept, and everything else is masked whole.

/// Replaces an argument that was masked.
pub const MASK: &str = "***";
/// The most arguments that are kept; one `…` stands for the rest.
const MAX_ARGUMENTS: usize = 24;
/// The longest name of a flag.
const MAX_NAME: usize = 32;

/// Masks the arguments after the program's own name; each ends with a zero.
pub fn masked(arguments: &[u8]) -> Vec<String> {
    let words = arguments.split(|byte| *byte == 0).skip(1);
    let mut masked: Vec<String> = words.filter(|word| !word.is_empty()).take(MAX_ARGUMENTS + 1).map(word).collect();
    if masked.len() > MAX_ARGUMENTS {
        masked.truncate(MAX_ARGUMENTS);
        masked.push("…".to_owned());
    }
    masked
}

fn word(word: &[u8]) -> String {
    match word {
        [b'-', b'-', name @ ..] => long(name),
        [b'-', letter] if letter.is_ascii_alphanumeric() => format!("-{}", char::from(*letter)),
        // `-la` or `-psecret`: both have the same form.
        [b'-', letter, ..] if letter.is_ascii_alphabetic() => format!("-{}{MASK}", char::from(*letter)),
        _ => MASK.to_owned(),
    }
}

fn long(text: &[u8]) -> String {
    let (name, value) = match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], format!("={MASK}")),
        None => (text, String::new()),
    };
    let plain = name.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.'));
    match std::str::from_utf8(name) {
        Ok(name) if plain && name.len() <= MAX_NAME => format!("--{name}{value}"),
        _ => format!("--{MASK}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hUnt3r2";

    fn shown(words: &[&str]) -> String {
        masked(words.join("\0").as_bytes()).join(" ")
    }

    #[test]
    fn a_secret_leaves_in_no_place_that_a_command_line_has() {
        for words in [
            vec!["mysql", "--password=hUnt3r2", "-u", "root"],
            vec!["mysql", "--password", "hUnt3r2"],
            vec!["mysql", "-phUnt3r2"],
            vec!["hUnt3r2"],
            vec!["curl", "https://user:hUnt3r2@example.test/"],
            vec!["env", "TOKEN=hUnt3r2", "sh", "-c", "echo hUnt3r2"],
            vec!["java", "-Dpassword=hUnt3r2"],
            vec!["x", "--hUnt3r2"],
            vec!["x", "-hUnt3r2"],
            vec!["x", "--", "hUnt3r2"],
            vec!["x", "--a=b=hUnt3r2"],
        ] {
            assert!(!shown(&words).contains(SECRET), "{words:?} -> {}", shown(&words));
        }
    }

    #[test]
    fn names_of_flags_are_kept() {
        assert_eq!(shown(&["sh", "-c", "id"]), "-c ***");
        assert_eq!(shown(&["kubelet", "--config=/etc/x", "--v", "2"]), "--config=*** --v ***");
        assert_eq!(shown(&["ls", "-la", "/"]), "-l*** ***");
        assert_eq!(shown(&["ls"]), "");
    }

    #[test]
    fn a_long_line_is_cut_and_bytes_that_are_no_text_are_masked() {
        assert!(shown(&["x"; 100]).ends_with('…'));
        assert_eq!(masked(b"x\0--\xff\xfe\0\xff"), ["--***", "***"]);
    }
}
