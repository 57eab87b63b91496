//! One byte form for everything that is hashed or signed: JSON with sorted keys, no spaces, no floating point.
//!
//! This is RFC 8785 (JSON Canonicalization Scheme) restricted to values for which every implementation agrees: strings,
//! booleans, null, integers, arrays, objects with ASCII keys. It stays readable for an auditor with no tool but `cat`.

use serde::Serialize;
use serde_json::Value;

/// The canonical bytes of a value.
///
/// Fails for a floating-point number and for a map whose keys are no strings: neither has one agreed form.
pub fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    write(&serde_json::to_value(value)?, &mut out)?;
    Ok(out)
}

/// The canonical bytes of a value, as the text that they are.
pub fn text<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    String::from_utf8(bytes(value)?).map_err(serde::ser::Error::custom)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(&map[key], out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Number(number) if number.is_f64() => {
            return Err(serde::ser::Error::custom(format!("{number} has no canonical form: only integers do")));
        }
        scalar => serde_json::to_writer(&mut *out, scalar)?,
    }
    Ok(())
}

/// Serialises bytes as lower-case hexadecimal, for fields that people compare.
pub mod hex_bytes {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Bytes to text.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    /// Text to bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_padded() {
        let value = json!({"b": {"z": 1, "a": [true, null]}, "a": "x\ny"});
        assert_eq!(super::bytes(&value).unwrap(), br#"{"a":"x\ny","b":{"a":[true,null],"z":1}}"#);
    }

    #[test]
    fn a_float_is_refused() {
        assert!(super::bytes(&json!({"a": 0.1})).unwrap_err().to_string().contains("only integers"));
    }
}
