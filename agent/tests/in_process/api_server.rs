//! An API server of a few hundred lines: lists in pages, watches, WatchList, refusals, a history that can be forgotten.
//!
//! It knows what the agent's collectors must survive and nothing else; the suites run the same agent against a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

/// Objects by resource in the plural, then by namespace and name.
type Objects = BTreeMap<String, BTreeMap<(String, String), Value>>;

struct Harness {
    objects: Objects,
    version: u64,
    minor: u32,
    forbidden: BTreeSet<String>,
    absent: BTreeSet<String>,
    watch_list: bool,
    history_gone: bool,
    requests: Vec<String>,
    /// Whether nothing can be written.
    read_only: bool,
    /// Whether somebody else writes just before the next write.
    overtake: bool,
    /// What the API server says of tokens: the status of the TokenReview.
    tokens: BTreeMap<String, Value>,
}

pub struct ApiServer {
    harness: Arc<Mutex<Harness>>,
    events: broadcast::Sender<(String, String)>,
    pub client: kube::Client,
}

#[derive(Clone)]
struct Shared {
    harness: Arc<Mutex<Harness>>,
    events: broadcast::Sender<(String, String)>,
}

impl ApiServer {
    pub async fn start(watch_list: bool) -> Self {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let harness = Arc::new(Mutex::new(Harness {
            objects: Objects::new(),
            version: 100,
            minor: 34,
            forbidden: BTreeSet::new(),
            absent: BTreeSet::new(),
            watch_list,
            history_gone: false,
            requests: Vec::new(),
            read_only: false,
            overtake: false,
            tokens: BTreeMap::new(),
        }));
        let events = broadcast::channel(1024).0;
        let shared = Shared { harness: harness.clone(), events: events.clone() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(shared)).await });
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let server = Self { harness, events, client };
        server.put("namespaces", json!({"metadata": {"name": "kube-system", "uid": "fingerprint"}}));
        server
    }

    /// Creates or changes an object, as a user would.
    pub fn put(&self, plural: &str, mut object: Value) {
        let line = {
            let mut harness = self.harness.lock().unwrap();
            harness.version += 1;
            object["metadata"]["resourceVersion"] = json!(harness.version.to_string());
            let key = key_of(&object);
            let old = harness.objects.entry(plural.to_owned()).or_default().insert(key, object.clone());
            json!({"type": if old.is_some() { "MODIFIED" } else { "ADDED" }, "object": object})
        };
        let _nobody_watches = self.events.send((plural.to_owned(), format!("{line}\n")));
    }

    /// Deletes an object, and tells the watches.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let object = self.vanish(plural, namespace, name);
        let _nobody_watches =
            self.events.send((plural.to_owned(), format!("{}\n", json!({"type": "DELETED", "object": object}))));
    }

    /// Deletes an object that no watch hears of.
    pub fn vanish(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let mut harness = self.harness.lock().unwrap();
        harness.version += 1;
        let key = (namespace.to_owned(), name.to_owned());
        harness.objects.get_mut(plural).unwrap().remove(&key).unwrap()
    }

    /// Takes the right to a resource away, or gives it back. Open watches end.
    pub fn forbid(&self, plural: &str, forbidden: bool) {
        let mut harness = self.harness.lock().unwrap();
        if forbidden {
            harness.forbidden.insert(plural.to_owned())
        } else {
            harness.forbidden.remove(plural)
        };
        drop(harness);
        self.cut(plural);
    }

    /// Stops serving a resource.
    pub fn withdraw(&self, plural: &str) {
        self.harness.lock().unwrap().absent.insert(plural.to_owned());
        self.cut(plural);
    }

    /// Ends the watches of a resource; with a history that is gone, they cannot go on where they were.
    pub fn cut(&self, plural: &str) {
        let _nobody_watches = self.events.send((plural.to_owned(), String::new()));
    }

    /// Is another version of Kubernetes from now on.
    pub fn become_minor(&self, minor: u32) {
        self.harness.lock().unwrap().minor = minor;
    }

    pub fn forget_history(&self, gone: bool) {
        self.harness.lock().unwrap().history_gone = gone;
    }

    /// Refuses every write, or takes them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.harness.lock().unwrap().read_only = read_only;
    }

    /// Somebody else writes the object just before the next one who read it does.
    pub fn overtake_the_next_write(&self) {
        self.harness.lock().unwrap().overtake = true;
    }

    /// Whether that has not happened yet.
    pub fn is_overtaking(&self) -> bool {
        self.harness.lock().unwrap().overtake
    }

    /// An object as it is now.
    pub fn object(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let key = (namespace.to_owned(), name.to_owned());
        self.harness.lock().unwrap().objects[plural][&key].clone()
    }

    /// Knows a token as one of this service account and audience, bound to a Pod on this node.
    pub fn know_token(&self, token: &str, account: &str, audience: &str, node: &str) {
        let status = json!({
            "authenticated": true, "audiences": [audience],
            "user": {"username": account, "extra": {"authentication.kubernetes.io/node-name": [node]}},
        });
        self.harness.lock().unwrap().tokens.insert(token.to_owned(), status);
    }

    /// The requests so far that contain this text.
    pub fn requests(&self, text: &str) -> Vec<String> {
        self.harness.lock().unwrap().requests.iter().filter(|path| path.contains(text)).cloned().collect()
    }
}

fn key_of(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri, body: Bytes) -> Response {
    let query: BTreeMap<_, _> =
        uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
    let mut harness = shared.harness.lock().unwrap();
    if method == Method::POST {
        return review(&harness, &serde_json::from_slice(&body).unwrap());
    }
    if method == Method::PUT {
        return replace(&mut harness, uri.path(), serde_json::from_slice(&body).unwrap());
    }
    harness.requests.push(uri.to_string());
    if uri.path() == "/version" {
        let minor = harness.minor;
        return whole(200, &json!({"gitVersion": format!("v1.{minor}.4"), "major": "1", "minor": format!("{minor}+")}));
    }
    let mut path: Vec<&str> = uri.path().split('/').skip(if uri.path().starts_with("/apis") { 4 } else { 3 }).collect();
    let namespace = if path.len() > 2 { path.drain(..2).nth(1) } else { None };
    let (plural, name) = (path[0], path.get(1).copied());
    if harness.absent.contains(plural) {
        return Response::builder().status(404).body(Body::from("404 page not found\n")).unwrap();
    }
    if harness.forbidden.contains(plural) {
        let message = format!("{plural} is forbidden: User \"agent\" cannot do that");
        return whole(403, &status(403, "Forbidden", &message, None));
    }
    if let Some(name) = name {
        let key = (namespace.unwrap_or_default().to_owned(), name.to_owned());
        return match harness.objects.get(plural).and_then(|objects| objects.get(&key)) {
            Some(object) => whole(200, object),
            None => whole(404, &status(404, "NotFound", &format!("{plural} {name:?} not found"), Some(name))),
        };
    }
    if query.contains_key("watch") {
        return watch(&shared, &harness, plural, &query);
    }
    list(&harness, plural, namespace, &query)
}

/// A token is known for the audiences that it was made for, of those that are asked about.
fn review(harness: &Harness, question: &Value) -> Response {
    let unknown = json!({"authenticated": false, "error": "unknown"});
    let known = harness.tokens.get(question["spec"]["token"].as_str().unwrap());
    let fits = |status: &&Value| status["audiences"] == question["spec"]["audiences"];
    whole(201, &json!({"kind": "TokenReview", "status": known.filter(fits).unwrap_or(&unknown)}))
}

/// Replaces an object at the version that was read.
fn replace(harness: &mut Harness, path: &str, mut object: Value) -> Response {
    if harness.read_only {
        return whole(500, &status(500, "InternalError", "etcd is not there", None));
    }
    let plural = path.rsplit('/').nth(1).unwrap().to_owned();
    harness.version += 2;
    let version = harness.version;
    let (key, objects) = (key_of(&object), harness.objects.get_mut(&plural).unwrap());
    let present = objects.get_mut(&key).unwrap();
    if std::mem::take(&mut harness.overtake) {
        present["metadata"]["resourceVersion"] = json!((version - 1).to_string());
    }
    if present["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
        return whole(409, &status(409, "Conflict", "the object has been modified", None));
    }
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    *present = object.clone();
    whole(200, &object)
}

fn list(harness: &Harness, plural: &str, namespace: Option<&str>, query: &BTreeMap<&str, &str>) -> Response {
    let none = BTreeMap::new();
    let objects = harness.objects.get(plural).unwrap_or(&none);
    let inside = objects.iter().filter(|(key, _)| namespace.is_none_or(|namespace| key.0 == namespace));
    let start: usize = query.get("continue").map_or(0, |start| start.parse().unwrap());
    // Pages of two, whatever is asked for: the limit is a wish.
    let all: Vec<_> = inside.map(|(_, object)| object).collect();
    let end = if query.get("limit") == Some(&"0") { all.len() } else { (start + 2).min(all.len()) };
    let next = if end < all.len() { end.to_string() } else { String::new() };
    let meta = json!({"resourceVersion": harness.version.to_string(), "continue": next});
    whole(200, &json!({"kind": "List", "metadata": meta, "items": all[start..end]}))
}

fn watch(shared: &Shared, harness: &Harness, plural: &str, query: &BTreeMap<&str, &str>) -> Response {
    let initial = query.contains_key("sendInitialEvents");
    if initial && !harness.watch_list {
        return whole(422, &status(422, "Invalid", "sendInitialEvents is forbidden", None));
    }
    let mut begin = String::new();
    if initial {
        for object in harness.objects.get(plural).into_iter().flat_map(BTreeMap::values) {
            begin.push_str(&format!("{}\n", json!({"type": "ADDED", "object": object})));
        }
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let meta = json!({"resourceVersion": harness.version.to_string(), "annotations": annotations});
        begin.push_str(&format!("{}\n", json!({"type": "BOOKMARK", "object": {"metadata": meta}})));
    } else if harness.history_gone {
        begin = format!(
            "{}\n",
            json!({"type": "ERROR", "object": status(410, "Expired", "too old resource version", None)})
        );
        return Response::new(Body::from(begin));
    } else {
        let from: u64 = query["resourceVersion"].parse().unwrap();
        for object in harness.objects.get(plural).into_iter().flat_map(BTreeMap::values) {
            if object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > from {
                begin.push_str(&format!("{}\n", json!({"type": "MODIFIED", "object": object})));
            }
        }
    }
    let wanted = plural.to_owned();
    let live = BroadcastStream::new(shared.events.subscribe())
        .filter_map(move |event| {
            let line = event.ok().filter(|(plural, _)| *plural == wanted).map(|(_, line)| line);
            async move { line }
        })
        .take_while(|line| futures::future::ready(!line.is_empty()));
    let lines = futures::stream::iter([begin]).chain(live).map(Ok::<_, std::convert::Infallible>);
    Response::new(Body::from_stream(lines))
}

fn whole(code: u16, body: &Value) -> Response {
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Body::from(body.to_string())).unwrap()
}

fn status(code: u16, reason: &str, message: &str, name: Option<&str>) -> Value {
    json!({"kind": "Status", "code": code, "reason": reason, "message": message, "details": {"name": name}})
}
