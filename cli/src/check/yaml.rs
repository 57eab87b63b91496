//! The full YAML parser (serde-saphyr), with the budgets of one document, and its errors in plain words.

use serde_saphyr::{Budget, Deserializer, Error, Options, options};

use super::document_problem::DocumentProblem;

/// The deepest nesting: the deepest field of the API is at about 20.
const MAX_DEPTH: usize = 64;
const MAX_OBJECT_NODES: usize = 250_000;
const MAX_LIST_NODES: usize = 20_000_000;
/// Text of all values. More than the document itself has can only come from aliases.
const MAX_OBJECT_SCALARS: usize = 8 << 20;
const MAX_LIST_SCALARS: usize = 512 << 20;
const MAX_REPLAYED: usize = 250_000;

/// Reads one document within its budget.
pub fn read<'de, R, F>(text: &'de str, is_list: bool, f: F) -> Result<R, Error>
where
    for<'e> F: FnOnce(Deserializer<'de, 'e>) -> Result<R, Error>,
{
    serde_saphyr::with_deserializer_from_str_with_options(text, budgeted(is_list), f)
}

fn budgeted(is_list: bool) -> Options {
    let nodes = if is_list { MAX_LIST_NODES } else { MAX_OBJECT_NODES };
    let mut budget = Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.max_documents = 1;
    budget.max_nodes = nodes;
    budget.max_events = 2 * nodes;
    budget.max_total_scalar_bytes = if is_list { MAX_LIST_SCALARS } else { MAX_OBJECT_SCALARS };
    budget.max_aliases = 10_000;
    budget.max_anchors = 10_000;
    let mut aliases = options::AliasLimits::default();
    aliases.max_total_replayed_events = MAX_REPLAYED;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits = aliases;
    options.with_snippet = false;
    options.emit_comments = false;
    options
}

/// An error of the parser as a problem, with the line in the document.
pub fn problem(error: &Error, text: &str) -> DocumentProblem {
    let line = error.location().map_or(0, |location| location.line() as usize);
    let control = text.bytes().position(|byte| byte < 0x20 && !b"\t\n\r".contains(&byte) || byte == 0x7f);
    if let Some(at) = control {
        let line = 1 + text[..at].matches('\n').count();
        let byte = text.as_bytes()[at];
        let message = format!("control character U+{byte:04X} is not allowed in YAML; remove it");
        return DocumentProblem { line, ..DocumentProblem::error(message) };
    }
    DocumentProblem { line, ..DocumentProblem::error(message(error)) }
}

fn message(error: &Error) -> String {
    use serde_saphyr::budget::BudgetBreach as Breach;
    match error.without_snippet() {
        Error::AliasError { error, .. } => message(error),
        Error::Budget { breach, .. } => match breach {
            Breach::Depth { .. } => too_deep(),
            Breach::Aliases { .. }
            | Breach::Anchors { .. }
            | Breach::AliasAnchorRatio { .. }
            | Breach::ScalarBytes { .. } => BOMB.to_owned(),
            _ => "more values than one document may have; split it into documents".to_owned(),
        },
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => BOMB.to_owned(),
        Error::DuplicateMappingKey { key, .. } => {
            let key: String = key.as_deref().unwrap_or("a key").chars().take(100).collect();
            format!("`{key}` comes twice here; keep one of the two")
        }
        other => plain(&other.to_string()),
    }
}

const BOMB: &str = "its aliases (`*name`) expand to more than one document may hold; write the values out";

/// The parser's own message, without the position, which every problem carries, and without advice to programmers.
fn plain(full: &str) -> String {
    let message = full.rfind(" at line ").map_or(full, |at| &full[..at]);
    if message.contains("recursion limit") {
        return too_deep();
    }
    let tab = if message.contains("tab") { "; indent with spaces" } else { "" };
    format!("{message}{tab}")
}

fn too_deep() -> String {
    format!("nested more than {MAX_DEPTH} levels deep; flatten it")
}
