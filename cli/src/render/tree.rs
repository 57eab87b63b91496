//! Records for programs: JSON that is also safe to look at, and YAML of the same.

use serde::Serialize;
use serde_json::Value;

use super::escape;

/// JSON, indented. Characters that steer a terminal become `\u` escapes, which a parser reads as the same string.
pub fn json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && escape::is_harmful(c) {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    Ok(out)
}

/// YAML. It has no escape that works in every style of string, so harmful characters are shown as in a table.
pub fn yaml<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(value)?;
    make_harmless(&mut value);
    Ok(serde_yaml_out::to_string(&value)?)
}

fn make_harmless(value: &mut Value) {
    match value {
        Value::String(text) => *text = escape::block(text),
        Value::Array(items) => items.iter_mut().for_each(make_harmless),
        Value::Object(map) => {
            let entries = std::mem::take(map).into_iter();
            map.extend(entries.map(|(key, mut value)| {
                make_harmless(&mut value);
                (escape::line(&key), value)
            }));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_shows_what_steers_a_terminal_and_reads_back_as_the_same_text() {
        let hostile = "a\u{9b}31m\u{202e}\u{7f}\u{e0041}\x1b";
        let text = json(&[hostile]).unwrap();
        assert!(!text.chars().any(|c| c != '\n' && escape::is_harmful(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&text).unwrap(), [hostile]);
    }

    #[test]
    fn yaml_holds_no_harmful_character() {
        let text = yaml(&serde_json::json!({"k\u{202e}": ["a\u{200f}\nb"]})).unwrap();
        assert_eq!(text, "k\\u{202e}:\n- |-\n  a\\u{200f}\n  b\n");
    }
}
