//! One document in, the facts of its objects and a list of problems out. Bounded in time and memory by budgets per document.
//!
//! Plain block YAML of a known kind goes straight from text to facts, in one pass (`block`). Everything else goes through
//! the full parser, and lists object by object. Whatever is wrong with a document is a problem that names its field and
//! line, and the other documents are still checked. It judges nothing.

use std::collections::BTreeMap;

use holdfast_controls::{Kind, Object, project};
use serde::Deserializer as _;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::block;
use super::document_problem::DocumentProblem;
use super::envelope::{Envelope, Opened};
use super::report::Weight;
use super::schema::Schema;
use super::split::Document;
use super::track::Track;
use super::yaml;

/// How much one document may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one object.
    pub object_bytes: usize,
    /// Bytes of a list of objects.
    pub list_bytes: usize,
}

/// The result of one document.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The objects of kinds that are judged.
    pub objects: Vec<Read>,
    /// What is wrong with it.
    pub problems: Vec<DocumentProblem>,
    /// Lines of the document before its content: comments, directives, the `---`.
    pub lead: usize,
    /// How many objects of other kinds there were, by kind.
    pub passed_over: BTreeMap<String, usize>,
}

/// One object, and which one of its document it is.
#[derive(Debug)]
pub struct Read {
    /// Its facts.
    pub object: Object,
    /// Its number in a list, from 1.
    pub item: Option<usize>,
}

/// Reads one document.
pub fn decode(document: &Document, limits: &Limits) -> Decoded {
    let mut decoded = Decoded { lead: lead(&document.text), ..Decoded::default() };
    if let Err(problem) = decode_text(document, limits, &mut decoded) {
        decoded.problems.push(problem);
    }
    let errors = decoded.problems.iter_mut().filter(|problem| problem.weight == Weight::Error);
    if document.text.windows(2).any(|pair| pair == b"{{") {
        errors.for_each(|problem| {
            problem.message += "; it looks like a template: render it first, as `helm template` does"
        });
    }
    decoded
}

/// How many lines stand before the content.
fn lead(text: &[u8]) -> usize {
    let before = |line: &&[u8]| {
        let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
        first.is_none_or(|byte| matches!(byte, b'#' | b'%')) || line.trim_ascii_end() == b"---"
    };
    text.split(|byte| *byte == b'\n').take_while(before).count()
}

fn decode_text(document: &Document, limits: &Limits, out: &mut Decoded) -> Result<(), DocumentProblem> {
    let text = std::str::from_utf8(&document.text).map_err(|error| not_utf8(&document.text, error.valid_up_to()))?;
    let head = Head::peek(text);
    let is_list = head.kind.is_none_or(|kind| kind.ends_with("List"));
    let limit = if is_list { limits.list_bytes } else { limits.object_bytes };
    if document.too_large || document.text.len() > limit {
        return Err(too_large(&head, limit));
    }
    let start = text.trim_start_matches("---").trim_start();
    if start.starts_with(['{', '[']) {
        return decode_json(start, text, out);
    }
    match head {
        Head { kind: Some("Secret"), .. } => {
            out.pass_over("Secret");
            Ok(())
        }
        Head { kind: Some(name), api_version: Some(version) } if !is_list => match Kind::find(group(version), name) {
            Some(kind) => decode_known(kind, version, text, out),
            None => decode_other(name, text, out),
        },
        _ => decode_open(text, is_list, out),
    }
}

/// A document whose kind is known before it is read.
fn decode_known(kind: &'static Kind, version: &str, text: &str, out: &mut Decoded) -> Result<(), DocumentProblem> {
    let mut track = Track::new(false);
    let seed = Projection { kind, track: &mut track };
    let object = match block::read(text, seed) {
        Ok(object) => object,
        Err(block::Declined) => {
            track = Track::new(false);
            let read = yaml::read(text, false, |from| Projection { kind, track: &mut track }.project(from));
            match read {
                Ok(object) => object,
                Err(error) => return Err(out.refuse(track, None, yaml::problem(&error, text))),
            }
        }
    };
    // The lines that the kind was peeked from may have been part of a literal: what the parser has read decides.
    if track.kind.as_deref() != Some(kind.kind) || track.api_version.as_deref() != Some(version) {
        return decode_open(text, false, out);
    }
    out.accept(object, version, track, None);
    Ok(())
}

/// A document of a kind that no control reads: only its syntax is checked.
fn decode_other(name: &str, text: &str, out: &mut Decoded) -> Result<(), DocumentProblem> {
    if block::read(text, std::marker::PhantomData::<IgnoredAny>).is_err() {
        let mut track = Track::new(false);
        let read = yaml::read(text, false, |from| {
            track.wrap(from, super::schema::Shape::Any).deserialize_ignored_any(IgnoredAny)
        });
        if let Err(error) = read {
            return Err(out.refuse(track, None, yaml::problem(&error, text)));
        }
    }
    out.pass_over(name);
    Ok(())
}

/// A document whose kind is not known yet, or a list.
fn decode_open(text: &str, is_list: bool, out: &mut Decoded) -> Result<(), DocumentProblem> {
    let mut track = Track::new(false);
    let mut each = |value, item| out.take_value(value, Some(item));
    let read = yaml::read(text, is_list, |from| Envelope::new(&mut each).read(&mut track, from));
    match read {
        Ok(opened) => out.take_opened(opened, None),
        Err(error) => {
            let problem = yaml::problem(&error, text);
            Err(out.refuse(track, None, problem))
        }
    }
}

/// JSON, one object after the other; text that only looks like it is left to the YAML parser.
fn decode_json(json: &str, text: &str, out: &mut Decoded) -> Result<(), DocumentProblem> {
    let mut from = serde_json::Deserializer::from_str(json);
    let skipped = text.len() - json.len();
    let mut count = 0;
    while from.end().is_err() {
        let mut track = Track::new(true);
        let mut each = |value, item| out.take_value(value, Some(item));
        match Envelope::new(&mut each).read(&mut track, &mut from) {
            Ok(opened) => {
                count += 1;
                let item = (count > 1).then_some(count);
                out.take_opened(opened, item)?;
            }
            Err(error) if count == 0 && error.is_syntax() && out.objects.is_empty() => {
                let mut as_yaml = Decoded { lead: out.lead, ..Decoded::default() };
                let read = decode_open(text, true, &mut as_yaml);
                if read.is_ok() || !json[1..].trim_start().starts_with(['"', '{', '}']) || json.starts_with("{{") {
                    *out = as_yaml;
                    return read;
                }
                return Err(out.refuse(track, None, json_problem(&error, text, skipped)));
            }
            Err(error) => return Err(out.refuse(track, None, json_problem(&error, text, skipped))),
        }
    }
    Ok(())
}

impl Decoded {
    fn pass_over(&mut self, kind: &str) {
        let shown: String = kind.chars().take(100).collect();
        *self.passed_over.entry(shown).or_default() += 1;
    }

    fn take_opened(&mut self, opened: Opened, item: Option<usize>) -> Result<(), DocumentProblem> {
        match opened {
            Opened::List => Ok(()),
            Opened::Object(value) => {
                self.take_value(value, item);
                Ok(())
            }
            Opened::Nothing(what) => Err(DocumentProblem { item, ..DocumentProblem::error(what) }),
        }
    }

    /// One object that has been read whole.
    fn take_value(&mut self, value: Value, item: Option<usize>) {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(name), Some(version)) = (text("kind"), text("apiVersion")) else {
            let problem = DocumentProblem::error(match value {
                Value::Object(_) => NO_KIND,
                _ => "this is no object: a manifest is a map with `apiVersion` and `kind`",
            });
            return self.problems.push(DocumentProblem { item, ..problem });
        };
        let Some(kind) = Kind::find(group(&version), &name) else { return self.pass_over(&name) };
        let mut track = Track::new(false);
        match (Projection { kind, track: &mut track }).project(value) {
            Ok(object) => self.accept(object, &version, track, item),
            Err(error) => {
                let problem = self.refuse(track, item, DocumentProblem::error(error.to_string()));
                self.problems.push(problem);
            }
        }
    }

    fn accept(&mut self, mut object: Object, version: &str, track: Track, item: Option<usize>) {
        if object.meta.name.is_empty() {
            object.meta.name = object.meta.generate_name.clone().unwrap_or_else(|| {
                let message = "there is no `metadata.name`; the API server refuses it. Name it";
                self.problems.push(DocumentProblem {
                    item,
                    field: Some("metadata.name".into()),
                    ..DocumentProblem::warning(message)
                });
                "(no name)".to_owned()
            });
        }
        let served = if object.kind.group.is_empty() {
            object.kind.version.to_owned()
        } else {
            format!("{}/{}", object.kind.group, object.kind.version)
        };
        if version != served {
            let message = format!("Kubernetes 1.34 does not serve {version}; it was judged as {served}");
            self.problems.push(DocumentProblem {
                item,
                field: Some("apiVersion".into()),
                ..DocumentProblem::warning(message)
            });
        }
        self.note(track, item);
        self.objects.push(Read { object, item });
    }

    /// Adds the field to the problem that ended a document, and keeps what was noted before.
    fn refuse(&mut self, mut track: Track, item: Option<usize>, problem: DocumentProblem) -> DocumentProblem {
        let field = track.failed_at.take().filter(|field| !field.is_empty());
        let same = track.notes.iter().position(|note| Some(&note.field) == field.as_ref());
        // Where `track` has noted what is wrong, its message is plainer than the deserializer's.
        let message = same.map_or(problem.message, |at| track.notes.remove(at).message);
        self.note(track, item);
        DocumentProblem { item: problem.item.or(item), field: problem.field.or(field), message, ..problem }
    }

    fn note(&mut self, track: Track, item: Option<usize>) {
        self.problems.extend(track.notes.into_iter().map(|note| DocumentProblem {
            item,
            field: Some(note.field),
            ..DocumentProblem::warning(note.message)
        }));
    }
}

const NO_KIND: &str =
    "there is no `apiVersion` and `kind`, so this is no Kubernetes manifest; add them, or leave the file out";

/// The projection of a kind, tracked.
struct Projection<'t> {
    kind: &'static Kind,
    track: &'t mut Track,
}

impl Projection<'_> {
    fn project<'de, D: serde::Deserializer<'de>>(self, from: D) -> Result<Object, D::Error> {
        let shape = Schema::kubernetes().of(self.kind.group, self.kind.kind);
        project(self.kind, self.track.wrap(from, shape))
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Projection<'_> {
    type Value = Object;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Object, D::Error> {
        self.project(from)
    }
}

/// `apiVersion` and `kind` as far as lines at column 0 hold them.
#[derive(Debug, Default, PartialEq)]
struct Head<'a> {
    api_version: Option<&'a str>,
    kind: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn peek(text: &'a str) -> Self {
        let mut head = Self::default();
        for line in text.lines() {
            let value = |key| line.strip_prefix(key).and_then(word);
            head.api_version = head.api_version.or_else(|| value("apiVersion:"));
            head.kind = head.kind.or_else(|| value("kind:").filter(|kind| kind.starts_with(char::is_alphabetic)));
            if head.api_version.is_some() && head.kind.is_some() {
                break;
            }
        }
        head
    }
}

/// One simple word, with or without quotes.
fn word(value: &str) -> Option<&str> {
    let value = value.strip_prefix(' ')?.trim();
    let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let simple = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"./-".contains(&b));
    simple.then_some(bare)
}

fn group(version: &str) -> &str {
    version.split_once('/').map_or("", |(group, _)| group)
}

fn not_utf8(text: &[u8], at: usize) -> DocumentProblem {
    let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count();
    let problem = if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        DocumentProblem::error("this is UTF-16 text; save it as UTF-8")
    } else {
        let byte = text.get(at).copied().unwrap_or_default();
        DocumentProblem::error(format!("byte 0x{byte:02X} is not UTF-8 text; save the file as UTF-8"))
    };
    DocumentProblem { line, ..problem }
}

fn too_large(head: &Head<'_>, limit: usize) -> DocumentProblem {
    let what = head.kind.map_or("this document".to_owned(), |kind| format!("this {kind}"));
    let (flag, why) = match head.kind {
        Some(kind) if !kind.ends_with("List") => ("--max-object-bytes", "no API server stores an object of that size"),
        _ => ("--max-list-bytes", "split it into documents"),
    };
    DocumentProblem::error(format!("{what} is larger than {limit} bytes; {why}, or raise {flag}"))
}

fn json_problem(error: &serde_json::Error, text: &str, skipped: usize) -> DocumentProblem {
    let full = error.to_string();
    let message = full.rfind(" at line ").map_or(full.as_str(), |at| &full[..at]);
    let message = match message {
        message if message.starts_with("recursion limit") => "nested more than 128 levels deep; flatten it".to_owned(),
        message if error.is_data() => message.to_owned(),
        message => format!("this is not valid JSON: {message}"),
    };
    let before = text[..skipped].matches('\n').count();
    DocumentProblem { line: before + error.line(), ..DocumentProblem::error(message) }
}
