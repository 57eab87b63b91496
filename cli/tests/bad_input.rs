//! Hostile and broken files against `holdfast check`: each gets a message that names file, document and field, and the
//! good document behind each of them is still evaluated. Time and memory are bounded by budgets, so nothing here waits
//! or measures; what is large is made by code.

// The whole crate is a test; clippy only knows functions marked as one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// One file, and what must be said about its first document: (weight, field, part of the message).
struct Case {
    file: &'static str,
    text: Vec<u8>,
    says: &'static [(&'static str, &'static str, &'static str)],
}

fn case(
    file: &'static str,
    text: impl Into<Vec<u8>>,
    says: &'static [(&'static str, &'static str, &'static str)],
) -> Case {
    Case { file, text: text.into(), says }
}

/// Stands behind every case; its finding shows that the rest was evaluated.
const GOOD: &str = "\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: still-here\nspec:\n  containers:\n  - name: a\n    \
                    securityContext:\n      privileged: true\n";

fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{spec}")
}

fn container(fields: &str) -> String {
    pod(&format!("  containers:\n  - name: c\n{fields}"))
}

fn flow_depth(open: char, close: char, depth: usize) -> String {
    let nested: String = std::iter::repeat_n(open, depth).chain(std::iter::repeat_n(close, depth)).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nx: {nested}\n")
}

fn block_depth(depth: usize) -> String {
    let nested: String = (0..depth).map(|level| format!("{}a:\n", " ".repeat(level + 1))).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{nested}")
}

/// Each level repeats the one before nine times.
fn bomb(levels: usize) -> String {
    let mut text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    x0: &x0 lol\n".to_owned();
    text += "bomb:\n  y0: &y0 [x]\n";
    for level in 1..=levels {
        let before = vec![format!("*y{}", level - 1); 9].join(", ");
        text += &format!("  y{level}: &y{level} [{before}]\n");
    }
    text
}

fn syntax() -> Vec<Case> {
    vec![
        case("unclosed-quote.yaml", pod("  hostname: \"abc\n"), &[("error", "spec.hostname", "quote")]),
        case("unclosed-bracket.yaml", pod("  containers: [\n"), &[("error", "spec.containers", "bracket")]),
        case("unclosed-brace.yaml", pod("  securityContext: {a: b\n"), &[("error", "spec.securityContext", "")]),
        case("tab-indent.yaml", pod("\thostNetwork: true\n"), &[("error", "spec", "spaces")]),
        case("colon-in-value.yaml", pod("  hostname: a: b\n"), &[("error", "spec", "mapping values")]),
        case("bad-indent.yaml", pod("  hostname: a\n   subdomain: b\n"), &[("error", "spec", "")]),
        case("dedent.yaml", pod("    hostname: a\n  subdomain: b\n"), &[("error", "", "expected key")]),
        case(
            "duplicate-key.yaml",
            container("    image: a\n    image: b\n"),
            &[("error", "spec.containers[0]", "`image` comes twice")],
        ),
        case(
            "duplicate-privileged.yaml",
            container("    securityContext:\n      privileged: true\n      privileged: false\n"),
            &[("error", "spec.containers[0].securityContext", "`privileged` comes twice")],
        ),
        case(
            "duplicate-kind.yaml",
            "apiVersion: v1\nkind: Pod\nkind: ConfigMap\nmetadata: {name: p}\n",
            &[("error", "", "`kind` comes twice")],
        ),
        case("unknown-alias.yaml", pod("  hostname: *nobody\n"), &[("error", "spec.hostname", "unknown anchor")]),
        case("self-alias.yaml", pod("  containers: &a [*a]\n"), &[("error", "spec.containers[0]", "aliases")]),
        case(
            "template.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Values.name }}\n",
            &[("error", "metadata.name", "helm template")],
        ),
        case(
            "template-block.yaml",
            "{{- if .Values.on }}\napiVersion: v1\nkind: Pod\n{{- end }}\n",
            &[("error", "", "helm template")],
        ),
        case("nul.yaml", pod("  hostname: \"a\0b\"\n"), &[("error", "", "U+0000")]),
        case("bell.yaml", pod("  hostname: a\u{7}b\n"), &[("error", "", "U+0007")]),
        case("escape.yaml", pod("  hostname: \u{1b}[2Jx\n"), &[("error", "", "U+001B")]),
        case("latin1.yaml", [pod("  hostname: ").as_bytes(), b"caf\xe9\n"].concat(), &[("error", "", "byte 0xE9")]),
        case("overlong.yaml", [pod("  hostname: ").as_bytes(), b"\xc0\xaf\n"].concat(), &[("error", "", "byte 0xC0")]),
        case(
            "surrogate.yaml",
            [pod("  hostname: ").as_bytes(), b"\xed\xa0\x80\n"].concat(),
            &[("error", "", "not UTF-8")],
        ),
        case(
            "binary.yaml",
            (0..=255_u8).cycle().take(4096).filter(|b| *b != b'\n').collect::<Vec<_>>(),
            &[("error", "", "not UTF-8")],
        ),
        case("bad-tag.yaml", pod("  hostNetwork: !!int yes\n"), &[("error", "spec.hostNetwork", "")]),
        case("bad-escape.yaml", pod("  hostname: \"a\\qb\"\n"), &[("error", "spec.hostname", "")]),
        case(
            "bad-directive.yaml",
            "%YAML 9\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n",
            &[("error", "", "")],
        ),
        case("two-roots.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n- a\n", &[("error", "", "")]),
        case(
            "separator-in-quotes.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: \"a\n---\nb\"\n",
            &[("error", "metadata.name", "quote")],
        ),
        case("merge-scalar.yaml", pod("  <<: 1\n"), &[("error", "spec", "merge")]),
    ]
}

fn types() -> Vec<Case> {
    vec![
        case(
            "privileged-text.yaml",
            container("    securityContext:\n      privileged: \"yes\"\n"),
            &[("error", "spec.containers[0].securityContext.privileged", "text, but the API takes `true` or `false`")],
        ),
        case(
            "privileged-quoted.yaml",
            container("    securityContext:\n      privileged: 'true'\n"),
            &[("error", "spec.containers[0].securityContext.privileged", "without quotes")],
        ),
        case(
            "privileged-number.yaml",
            container("    securityContext:\n      privileged: 1\n"),
            &[("error", "spec.containers[0].securityContext.privileged", "a number, but the API takes `true`")],
        ),
        case(
            "privileged-list.yaml",
            container("    securityContext:\n      privileged: [true]\n"),
            &[("error", "spec.containers[0].securityContext.privileged", "a list, but the API takes `true`")],
        ),
        case(
            "containers-map.yaml",
            pod("  containers:\n    name: c\n"),
            &[("error", "spec.containers", "a map, but the API takes a list")],
        ),
        case("containers-text.yaml", pod("  containers: none\n"), &[("error", "spec.containers", "takes a list")]),
        case(
            "spec-list.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: [a]\n",
            &[("error", "spec", "a list, but the API takes a map")],
        ),
        case("metadata-text.yaml", "apiVersion: v1\nkind: Pod\nmetadata: p\n", &[("error", "metadata", "takes a map")]),
        case(
            "name-number.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 1.10}\n",
            &[("error", "metadata.name", "a number, but the API takes text; quote it")],
        ),
        case(
            "label-boolean.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels: {on: true}\n",
            &[("error", "metadata.labels.on", "a boolean, but the API takes text")],
        ),
        case(
            "env-boolean.yaml",
            container("    env:\n    - name: A\n      value: true\n"),
            &[("warning", "spec.containers[0].env[0].value", "a boolean, but the API takes text; quote it")],
        ),
        case(
            "port-text.yaml",
            container("    ports:\n    - containerPort: \"80\"\n"),
            &[("", "spec.containers[0].ports[0].containerPort", "a whole number, without quotes")],
        ),
        case(
            "replicas-text.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: three}\n",
            &[("warning", "spec.replicas", "a whole number")],
        ),
        case(
            "typo-privileged.yaml",
            container("    securityContext:\n      priviledged: true\n"),
            &[("warning", "spec.containers[0].securityContext.priviledged", "did you mean `privileged`?")],
        ),
        case(
            "typo-context.yaml",
            container("    securitycontext:\n      privileged: true\n"),
            &[("warning", "spec.containers[0].securitycontext", "did you mean `securityContext`?")],
        ),
        case("wrong-level.yaml", pod("  privileged: true\n"), &[("warning", "spec.privileged", "no such field")]),
        case(
            "pod-fields-in-deployment.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  containers: []\n",
            &[("warning", "spec.containers", "no such field")],
        ),
        case(
            "rbac-typo.yaml",
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\nrules:\n- verb: ['*']\n",
            &[("warning", "rules[0].verb", "did you mean `verbs`?")],
        ),
        case(
            "old-version.yaml",
            "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: d}\n",
            &[("warning", "apiVersion", "does not serve apps/v1beta1")],
        ),
        case("no-name.yaml", "apiVersion: v1\nkind: Pod\nspec: {}\n", &[("warning", "metadata.name", "Name it")]),
        case(
            "dotted-key.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    a.b/c: 5\n",
            &[("error", "metadata.annotations[\"a.b/c\"]", "quote it")],
        ),
    ]
}

fn forms() -> Vec<Case> {
    vec![
        case("no-kind.yaml", "apiVersion: v1\nmetadata: {name: p}\n", &[("error", "", "`apiVersion` and `kind`")]),
        case("no-version.yaml", "kind: Pod\nmetadata: {name: p}\n", &[("error", "", "`apiVersion` and `kind`")]),
        case("values.yaml", "image:\n  tag: latest\n", &[("error", "", "leave the file out")]),
        case("scalar.yaml", "just words\n", &[("error", "", "a manifest is a map")]),
        case("number.yaml", "42\n", &[("error", "", "a manifest is a map")]),
        case("bare-list.yaml", "- apiVersion: v1\n  kind: Pod\n", &[("error", "", "bare list")]),
        case("kind-number.yaml", "apiVersion: v1\nkind: 7\n", &[("error", "", "`apiVersion` and `kind`")]),
        case(
            "list-of-words.yaml",
            "apiVersion: v1\nkind: List\nitems: [a, 1]\n",
            &[("error", "", "this is no object"), ("error", "", "this is no object")],
        ),
        case(
            "list-with-bad-item.yaml",
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: 1\n",
            &[("error", "spec", "takes a map")],
        ),
        case(
            "items-text.yaml",
            "apiVersion: v1\nkind: List\nitems: none\n",
            &[("error", "items", "a list of objects")],
        ),
        case("json-comma.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\",, }", &[("error", "", "")]),
        case("json-cut.json", "{\"apiVersion\": \"v1\", \"kind\": ", &[("error", "kind", "")]),
        case(
            "json-twice.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
            &[("error", "metadata.name", "comes twice")],
        ),
        case("json-array.json", "[{\"kind\": \"Pod\"}]", &[("error", "", "bare list")]),
        case(
            "json-privileged.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":[{\"name\":\"c\",\
             \"securityContext\":{\"privileged\":\"true\"}}]}}",
            &[("error", "spec.containers[0].securityContext.privileged", "without quotes")],
        ),
        case(
            "json-second-bad.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}} {\"apiVersion\": }",
            &[("error", "apiVersion", "JSON")],
        ),
        case("hidden-kind.yaml", "a: \"\nkind: Pod\n\"\napiVersion: v1\n", &[("error", "", "")]),
    ]
}

fn sizes() -> Vec<Case> {
    let long_key = format!("{}: 1\n", "k".repeat(100_000));
    let comments = "# comment\n".repeat(100_000);
    let many_keys: String = (0..300_000).map(|i| format!("k{i}: 1\n")).collect();
    let deep_json =
        format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"x\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let anchors: String = (0..20_000).map(|i| format!("- &a{i} x\n")).collect();
    vec![
        case("deep-flow.yaml", flow_depth('[', ']', 10_000), &[("error", "x[0]", "deep")]),
        case("deep-map.yaml", flow_depth('{', '}', 10_000), &[("error", "x", "")]),
        case("deep-block.yaml", block_depth(1000), &[("error", "spec.a.a", "deep")]),
        case("deep-json.json", deep_json, &[("error", "x[0]", "deep")]),
        case("bomb.yaml", bomb(12), &[("error", "bomb.y", "aliases")]),
        case(
            "quadratic.yaml",
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\na: &a {}\nb: [{}]\n",
                "x".repeat(100_000),
                vec!["*a"; 20_000].join(",")
            ),
            &[("error", "b", "aliases")],
        ),
        case(
            "anchors.yaml",
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\na:\n{anchors}"),
            &[("error", "a[", "aliases")],
        ),
        case(
            "giant-scalar.yaml",
            container(&format!("    image: {}\n", "x".repeat(2_000_000))),
            &[("error", "", "larger than 1572864 bytes")],
        ),
        case(
            "giant-object.yaml",
            format!("apiVersion: v1\nkind: ConfigMap\ndata:\n{}", "  a: b\n".repeat(300_000)),
            &[("error", "", "this ConfigMap is larger than")],
        ),
        case(
            "giant-line.yaml",
            format!("apiVersion: v1\nkind: Pod\nx: [{}]\n", "1,".repeat(1_500_000)),
            &[("error", "", "this Pod is larger than")],
        ),
        case(
            "many-nodes.yaml",
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nx: [{}]\n", "1,".repeat(400_000)),
            &[("error", "x[", "more values than one document may have")],
        ),
        case("many-keys.yaml", many_keys, &[("error", "", "")]),
        case("long-key.yaml", long_key, &[("error", "", "")]),
        case("only-comments.yaml", comments, &[]),
        case("empty-documents.yaml", "---\n".repeat(100_000), &[]),
    ]
}

fn holdfast(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .current_dir(folder)
        .arg("check")
        .args(arguments)
        .output()
        .expect("the command was built for this test")
}

fn problems_by_file(report: &Value) -> BTreeMap<String, Vec<Value>> {
    let mut by_file: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for problem in report["problems"].as_array().unwrap() {
        let same_pod = problem["message"].as_str().unwrap().contains("also defined in");
        if !same_pod {
            by_file.entry(problem["file"].as_str().unwrap().to_owned()).or_default().push(problem.clone());
        }
    }
    by_file
}

/// Whether a problem says this: `field` may end with `[` or a prefix, where the exact place depends on a budget.
fn says(problem: &Value, (weight, field, message): (&str, &str, &str)) -> bool {
    let own = problem["field"].as_str().unwrap_or("");
    let text = problem["message"].as_str().unwrap();
    (weight.is_empty() || problem["weight"] == weight) && own.starts_with(field) && text.contains(message)
}

#[test]
fn every_hostile_file_gets_its_message_and_the_rest_is_still_evaluated() {
    let cases: Vec<Case> = [syntax(), types(), forms(), sizes()].into_iter().flatten().collect();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let folder = tempfile::tempdir().unwrap();
    for case in &cases {
        fs::write(folder.path().join(case.file), [&case.text, GOOD.as_bytes()].concat()).unwrap();
    }
    let output = holdfast(folder.path(), &["-o", "json", "--control", "workload.privileged", "."]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = problems_by_file(&report);
    let mut wrong = Vec::new();
    for case in &cases {
        let own = problems.get(case.file).cloned().unwrap_or_default();
        let missing = case.says.iter().any(|said| !own.iter().any(|problem| says(problem, *said)));
        let unplaced = own.iter().any(|problem| problem["document"] == 0 || problem["line"] == 0);
        let rest = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["file"] == case.file && finding["resource"]["name"] == "still-here");
        if missing || unplaced || !rest || case.says.is_empty() != own.is_empty() {
            wrong.push(format!("{}: rest {rest}, wanted {:?}, got {}", case.file, case.says, Value::from(own)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn utf_16_is_named_and_a_missing_file_and_an_empty_folder_are_problems() {
    let folder = tempfile::tempdir().unwrap();
    let wide: Vec<u8> = "\u{feff}kind: Pod\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(folder.path().join("wide.yaml"), wide).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let output = holdfast(folder.path(), &["wide.yaml", "missing.yaml", "empty"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in
        ["wide.yaml: document 1, line 1: this is UTF-16", "missing.yaml: this file can't be read", "empty: there is no"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn names_from_a_file_do_not_steer_the_terminal_or_break_xml() {
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"a\\e[2J<b>&\\u202e]]>\"}\nspec:\n  containers:\n  \
                - {name: \"c\\r\\n\\x07\", securityContext: {privileged: true}}\n";
    fs::write(folder.path().join("x.yaml"), text).unwrap();
    let table = String::from_utf8(holdfast(folder.path(), &["x.yaml"]).stdout).unwrap();
    assert!(!table.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{table:?}");
    let junit = String::from_utf8(holdfast(folder.path(), &["x.yaml", "-o", "junit"]).stdout).unwrap();
    assert!(!junit.contains('\u{1b}') && !junit.contains("<b>") && junit.contains("&lt;b&gt;&amp;"), "{junit}");
    for form in ["json", "sarif"] {
        serde_json::from_slice::<Value>(&holdfast(folder.path(), &["x.yaml", "-o", form]).stdout).unwrap();
    }
}

#[test]
fn exit_codes_tell_findings_from_unreadable_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("broken.yaml"), "kind: [").unwrap();
    fs::write(folder.path().join("odd.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: odd, naem: x}\n")
        .unwrap();
    let code = |arguments: &[&str]| holdfast(folder.path(), arguments).status.code();
    let privileged = ["--control", "workload.privileged"];
    let with = |more: &[&'static str]| -> Vec<&'static str> { [&privileged, more].concat() };
    assert_eq!(code(&with(&["bad.yaml", "broken.yaml"])), Some(1));
    assert_eq!(code(&with(&["broken.yaml"])), Some(2));
    assert_eq!(code(&with(&["odd.yaml"])), Some(0));
    assert_eq!(code(&with(&["odd.yaml", "--strict"])), Some(2));
    assert_eq!(code(&["--control", "workload.nothing", "odd.yaml"]), Some(2));
}

#[test]
fn one_object_defined_twice_is_judged_twice() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("b.yaml"), GOOD).unwrap();
    let output = holdfast(folder.path(), &["-o", "json", "--control", "workload.privileged", "a.yaml", "b.yaml"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 2);
    assert!(report["problems"][0]["message"].as_str().unwrap().contains("also defined in a.yaml"));
}
