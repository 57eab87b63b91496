//! Pod Security, with a real API server as the oracle: thousands of pods, each dry-run in namespaces that enforce the
//! standards, must be allowed or denied as the controls predict, and for the same checks.
//!
//! The pods are the fixtures of the standards' own Go module, and generated ones: a minimal pod that fits a level, with
//! several fields mutated to values near the limit of what is allowed. A pod that validation refuses is never judged by the
//! standards; those are counted separately, and must be rare. `HOLDFAST_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use holdfast_controls::facts::pod::PodSpec;
use holdfast_controls::facts::{self, Facts, workload};
use holdfast_controls::pod_security::{self, Level, Version};
use holdfast_lab::ControlPlane;
use holdfast_tests::{pod_security_fixtures::pod_security_fixtures as fixtures, tier};
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// How many pods are generated beside the fixtures.
const GENERATED: usize = 2_400;
/// How many dry-runs are under way at once.
const AT_ONCE: usize = 16;
/// The policy versions that some namespaces pin: the version before and after every change of a check.
const PINNED: [&str; 13] =
    ["v1.0", "v1.7", "v1.18", "v1.19", "v1.21", "v1.22", "v1.24", "v1.25", "v1.26", "v1.28", "v1.30", "v1.31", "v1.33"];

/// A level at a version, and the namespace that enforces it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Policy {
    level: Level,
    version: String,
}

/// The outcome of one dry-run.
#[derive(Debug, PartialEq, Eq)]
enum DryRunAnswer {
    /// Allowed, or denied for these checks.
    Judged(BTreeSet<&'static str>),
    /// Refused by validation, before the standards are checked.
    Invalid(String),
}

impl Policy {
    fn namespace(&self) -> String {
        format!("{}-{}", self.level, self.version.replace('.', "-"))
    }

    fn version(&self) -> Version {
        Version::parse(&self.version).expect("the suite names versions that exist")
    }

    /// The checks that a pod fails here according to the controls.
    fn expected(&self, pod: &PodSpec) -> BTreeSet<&'static str> {
        pod_security::failing(pod, self.level, self.version()).into_iter().map(|check| check.id).collect()
    }
}

#[test]
fn every_fixture_of_the_standards_passes_or_fails_as_its_path_states() -> Result<()> {
    let Some(fixtures) = tier::available("go-modules", fixtures())? else { return Ok(()) };
    let mut wrong = Vec::new();
    for (path, pod) in &fixtures {
        let parts: Vec<_> = path.split('/').collect();
        let [level, version, outcome, _] = parts[..] else { bail!("{path} is not level/version/outcome/file") };
        let policy = Policy { level: Level::parse(level).context("a level")?, version: version.to_owned() };
        let failing = policy.expected(&facts_of(pod)?);
        if failing.is_empty() != (outcome == "pass") {
            wrong.push(format!("{path}: {failing:?}"));
        }
    }
    println!("{} fixtures judged, {} wrong", fixtures.len(), wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_agrees_about_every_pod_and_every_check() -> Result<()> {
    let Some(plane) = tier::available("apiserver", ControlPlane::start("pod-security").await)? else { return Ok(()) };
    let seed = std::env::var("HOLDFAST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_251_122);
    let pods = pods(seed)?;
    let questions = questions(&pods);
    for policy in questions.iter().map(|(_, policy)| policy).collect::<BTreeSet<_>>() {
        let labels = [
            ("pod-security.kubernetes.io/enforce", policy.level.as_str()),
            ("pod-security.kubernetes.io/enforce-version", &policy.version),
        ];
        plane.namespace(&policy.namespace(), &labels).await?;
    }
    let client = plane.client().await?;
    let answers: Vec<(usize, Policy, DryRunAnswer)> = futures::stream::iter(questions)
        .map(|(i, policy)| {
            let (client, pod) = (client.clone(), pods[i].clone());
            async move { Ok::<_, anyhow::Error>((i, policy.clone(), dry_run(&client, &policy, pod).await?)) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    report(seed, &pods, &answers)
}

fn report(seed: u64, pods: &[Value], answers: &[(usize, Policy, DryRunAnswer)]) -> Result<()> {
    let (mut disagreements, mut invalid, mut seen) = (Vec::new(), BTreeMap::new(), BTreeMap::<_, usize>::new());
    let mut compared = 0;
    for (i, policy, answer) in answers {
        match answer {
            DryRunAnswer::Invalid(reason) => _ = invalid.insert(*i, reason),
            DryRunAnswer::Judged(checks) => {
                compared += 1;
                checks.iter().for_each(|check| *seen.entry(*check).or_default() += 1);
                let expected = policy.expected(&facts_of(&pods[*i])?);
                if *checks != expected {
                    let namespace = policy.namespace();
                    disagreements.push(format!("{namespace}: server {checks:?}, controls {expected:?}: {}", pods[*i]));
                }
            }
        }
    }
    println!(
        "pod security: {} pods, {compared} comparisons, seed {seed}, {} pods refused by validation, {} disagreements",
        pods.len(),
        invalid.len(),
        disagreements.len(),
    );
    println!("checks that the server named: {seen:?}");
    let shown: Vec<_> = disagreements.iter().take(20).cloned().collect();
    ensure!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), shown.join("\n"));
    let reasons: BTreeSet<_> = invalid.values().take(20).collect();
    ensure!(invalid.len() * 20 < pods.len(), "too many pods never reach the standards: {reasons:#?}");
    let unnamed: Vec<_> =
        pod_security::CHECKS.iter().map(|check| check.id).filter(|id| !seen.contains_key(id)).collect();
    ensure!(unnamed.is_empty(), "no pod fails {unnamed:?}: the suite does not try them");
    ensure!(pods.len() - invalid.len() >= 2_000, "only {} pods were judged", pods.len() - invalid.len());
    Ok(())
}

/// Every pod under the newest standards, and under two pinned versions in turn; the fixtures under all of them.
fn questions(pods: &[Value]) -> Vec<(usize, Policy)> {
    let fixtures = pods.len() - GENERATED;
    let mut questions = Vec::new();
    for i in 0..pods.len() {
        for level in [Level::Baseline, Level::Restricted] {
            let is_pinned = |n: &usize| i < fixtures || n % PINNED.len() == i % PINNED.len();
            let pinned = (0..PINNED.len()).filter(is_pinned).map(|n| PINNED[n]);
            questions
                .extend(pinned.chain(["latest"]).map(|version| (i, Policy { level, version: version.to_owned() })));
        }
    }
    questions
}

async fn dry_run(client: &kube::Client, policy: &Policy, pod: Value) -> Result<DryRunAnswer> {
    let pods = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &policy.namespace(), &pods);
    let asked = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&asked, &serde_json::from_value(pod)?).await {
        Ok(_) => Ok(DryRunAnswer::Judged(BTreeSet::new())),
        Err(kube::Error::Api(status)) if status.code == 403 && status.message.contains("violates PodSecurity") => {
            named_checks(&status.message, policy).map(DryRunAnswer::Judged)
        }
        Err(kube::Error::Api(status)) if status.code == 422 || status.code == 400 => {
            Ok(DryRunAnswer::Invalid(status.message))
        }
        Err(error) => Err(error).with_context(|| policy.namespace()),
    }
}

/// The checks that a refusal names: `…: reason (details), reason (details)`.
fn named_checks(message: &str, policy: &Policy) -> Result<BTreeSet<&'static str>> {
    let quoted = format!("violates PodSecurity \"{}:{}\": ", policy.level, policy.version);
    let (_, list) = message.split_once(&quoted).with_context(|| format!("{message:?} names another policy"))?;
    let mut depth = 0_i32;
    let reasons = list.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0 && c == ','
    });
    reasons
        .map(|part| part.split_once(" (").map_or(part, |(reason, _)| reason).trim())
        .map(|reason| {
            let mut checks = pod_security::checks(policy.level, policy.version());
            let check = checks.find(|check| check.reasons.contains(&reason));
            check.map(|check| check.id).with_context(|| format!("no check has the reason {reason:?}: {message}"))
        })
        .collect()
}

fn facts_of(pod: &Value) -> Result<PodSpec> {
    match facts::project(&workload::POD, pod)?.facts {
        Facts::Workload(workload) => Ok(workload.pod),
        other => bail!("a pod is not {other:?}"),
    }
}

/// The distinct fixtures, then the generated pods, each with its own name.
fn pods(seed: u64) -> Result<Vec<Value>> {
    let mut distinct = BTreeSet::new();
    let fixtures = fixtures()?.into_iter().map(|(_, pod)| pod).filter(|pod| distinct.insert(pod.to_string()));
    let mut pods: Vec<Value> = fixtures.collect();
    let mut rng = StdRng::seed_from_u64(seed);
    let known = pods.len();
    while pods.len() < known + GENERATED {
        let pod = generated(&mut rng);
        if distinct.insert(pod.to_string()) {
            pods.push(pod);
        }
    }
    for (i, pod) in pods.iter_mut().enumerate() {
        pod["metadata"]["name"] = json!(format!("pod-{i}"));
    }
    Ok(pods)
}

/// A minimal pod that fits some level, with up to four fields mutated.
fn generated(rng: &mut StdRng) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"annotations": {}},
        "spec": {"containers": [{"name": "main", "image": "registry.example/app:1"}], "securityContext": {}},
    });
    if rng.random_bool(0.4) {
        pod["spec"]["initContainers"] = json!([{"name": "init", "image": "registry.example/app:1"}]);
    }
    if rng.random_bool(0.3) {
        push(&mut pod["spec"]["containers"], json!({"name": "side", "image": "registry.example/app:1"}));
    }
    if rng.random_bool(0.08) {
        pod["spec"]["os"] = json!({"name": "windows"});
        pod["spec"]["securityContext"]["runAsNonRoot"] = json!(true);
        mutate(&mut pod, rng, WINDOWS, 2);
        return pod;
    }
    if rng.random_bool(0.7) {
        harden(&mut pod, rng);
    }
    mutate(&mut pod, rng, MUTATIONS, 4);
    pod
}

/// Makes a pod fit the restricted level; fields that may be set on the pod or on its containers are set on either.
fn harden(pod: &mut Value, rng: &mut StdRng) {
    let (non_root, seccomp) = (rng.random_bool(0.6), rng.random_bool(0.6));
    if non_root {
        pod["spec"]["securityContext"]["runAsNonRoot"] = json!(true);
    }
    if seccomp {
        pod["spec"]["securityContext"]["seccompProfile"] = json!({"type": "RuntimeDefault"});
    }
    for container in containers(pod) {
        let context = &mut container["securityContext"];
        *context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        if !non_root {
            context["runAsNonRoot"] = json!(true);
        }
        if !seccomp {
            context["seccompProfile"] = json!({"type": "Localhost", "localhostProfile": "strict.json"});
        }
    }
}

type Mutation = fn(&mut Value, &mut StdRng);

fn mutate(pod: &mut Value, rng: &mut StdRng, mutations: &[Mutation], at_most: usize) {
    for _ in 0..rng.random_range(0..=at_most) {
        let mutation = mutations.choose(rng).expect("there are mutations");
        mutation(pod, rng);
    }
}

fn containers(pod: &mut Value) -> impl Iterator<Item = &mut Value> {
    let lists = pod["spec"].as_object_mut().into_iter().flatten();
    lists.filter(|(list, _)| list.ends_with("ontainers")).filter_map(|(_, list)| list.as_array_mut()).flatten()
}

/// The security context of the pod or of one of its containers.
fn some_context<'a>(pod: &'a mut Value, rng: &mut StdRng) -> &'a mut Value {
    if rng.random_bool(0.35) { &mut pod["spec"]["securityContext"] } else { container_context(pod, rng) }
}

fn container_context<'a>(pod: &'a mut Value, rng: &mut StdRng) -> &'a mut Value {
    let count = containers(pod).count();
    let container = containers(pod).nth(rng.random_range(0..count)).expect("it has that many");
    if container["securityContext"].is_null() {
        container["securityContext"] = json!({});
    }
    &mut container["securityContext"]
}

fn one(rng: &mut StdRng, of: &[Value]) -> Value {
    of.choose(rng).expect("there are values").clone()
}

const MUTATIONS: &[Mutation] = &[
    |pod, rng| {
        // Validation refuses `allowPrivilegeEscalation: false` beside these.
        let context = container_context(pod, rng);
        context["allowPrivilegeEscalation"] = one(rng, &[json!(true), json!(null)]);
        context["privileged"] = one(rng, &[json!(true), json!(false), json!(null)]);
    },
    |pod, rng| container_context(pod, rng)["allowPrivilegeEscalation"] = one(rng, &[json!(true), json!(null)]),
    |pod, rng| {
        let field = one(rng, &[json!("hostPID"), json!("hostIPC"), json!("hostNetwork")]);
        pod["spec"][field.as_str().expect("a field")] = json!(rng.random_bool(0.8));
    },
    |pod, rng| {
        for (i, container) in containers(pod).enumerate() {
            let port = 8000 + i;
            let host = one(rng, &[json!(port), json!(0), json!(null)]);
            container["ports"] = json!([{"containerPort": port, "hostPort": host}]);
        }
    },
    |pod, rng| {
        let sets: [&[&str]; 7] = [
            &["NET_BIND_SERVICE"],
            &["CHOWN"],
            &["NET_BIND_SERVICE", "KILL"],
            &["NET_RAW"],
            &["CAP_CHOWN"],
            &["chown", "SETUID"],
            &[],
        ];
        container_context(pod, rng)["capabilities"]["add"] = json!(sets.choose(rng));
    },
    |pod, rng| {
        let sets: [&[&str]; 5] = [&["ALL"], &["all"], &["NET_RAW"], &["NET_RAW", "ALL"], &[]];
        container_context(pod, rng)["capabilities"]["drop"] = json!(sets.choose(rng));
    },
    |pod, rng| container_context(pod, rng)["capabilities"] = one(rng, &[json!(null), json!({})]),
    |pod, rng| some_context(pod, rng)["runAsNonRoot"] = one(rng, &[json!(true), json!(false), json!(null)]),
    |pod, rng| some_context(pod, rng)["runAsUser"] = one(rng, &[json!(0), json!(1), json!(null)]),
    |pod, rng| {
        some_context(pod, rng)["seccompProfile"] = one(
            rng,
            &[
                json!({"type": "Unconfined"}),
                json!({"type": "RuntimeDefault"}),
                json!({"type": "Localhost", "localhostProfile": "x.json"}),
                json!(null),
            ],
        );
    },
    |pod, rng| {
        some_context(pod, rng)["appArmorProfile"] = one(
            rng,
            &[
                json!({"type": "Unconfined"}),
                json!({"type": "RuntimeDefault"}),
                json!({"type": "Localhost", "localhostProfile": "x"}),
            ],
        );
    },
    |pod, rng| {
        let value = one(rng, &[json!("unconfined"), json!("runtime/default"), json!("localhost/x"), json!("")]);
        pod["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/main"] = value;
    },
    |pod, rng| {
        let key = one(
            rng,
            &[
                json!("seccomp.security.alpha.kubernetes.io/pod"),
                json!("container.seccomp.security.alpha.kubernetes.io/main"),
                json!("container.seccomp.security.alpha.kubernetes.io/other"),
            ],
        );
        let value =
            one(rng, &[json!("unconfined"), json!("runtime/default"), json!("docker/default"), json!("localhost/x")]);
        pod["metadata"]["annotations"][key.as_str().expect("a key")] = value;
    },
    |pod, rng| {
        let kinds =
            ["container_t", "container_init_t", "container_kvm_t", "container_engine_t", "spc_t", "container_T", ""];
        some_context(pod, rng)["seLinuxOptions"] = json!({"type": kinds.choose(rng), "level": "s0:c1,c2"});
    },
    |pod, rng| {
        let field = one(rng, &[json!("user"), json!("role"), json!("level")]);
        some_context(pod, rng)["seLinuxOptions"][field.as_str().expect("a field")] = one(rng, &[json!("x"), json!("")]);
    },
    |pod, rng| {
        let names = [
            "kernel.shm_rmid_forced",
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_syncookies",
            "net.ipv4.ping_group_range",
            "net.ipv4.ip_unprivileged_port_start",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_keepalive_time",
            "net.ipv4.tcp_fin_timeout",
            "net.ipv4.tcp_keepalive_intvl",
            "net.ipv4.tcp_keepalive_probes",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem",
            "net.ipv4.tcp_mem",
            "kernel.msgmax",
        ];
        let count = rng.random_range(0..3);
        let sysctls = names.choose_multiple(rng, count).map(|name| json!({"name": name, "value": "1"}));
        pod["spec"]["securityContext"]["sysctls"] = sysctls.collect();
    },
    |pod, rng| volume(pod, rng),
    |pod, rng| volume(pod, rng),
    |pod, rng| {
        let host = one(rng, &[json!("10.0.0.1"), json!("localhost"), json!(""), json!(null)]);
        let probe = one(
            rng,
            &[
                json!({"httpGet": {"host": host, "port": 80}}),
                json!({"tcpSocket": {"host": host, "port": 80}}),
                json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "Host", "value": "x"}]}}),
            ],
        );
        let field = one(rng, &[json!("livenessProbe"), json!("readinessProbe"), json!("startupProbe")]);
        let main = &mut pod["spec"]["containers"][0];
        if rng.random_bool(0.3) {
            let hook = one(rng, &[json!("postStart"), json!("preStop")]);
            main["lifecycle"][hook.as_str().expect("a field")] = probe;
        } else {
            main[field.as_str().expect("a field")] = probe;
        }
    },
    |pod, rng| {
        // `Unmasked` is valid only in a user namespace, which excludes the host's namespaces.
        let mount = one(rng, &[json!("Unmasked"), json!("Default"), json!(null)]);
        if mount == "Unmasked" {
            let spec = pod["spec"].as_object_mut().expect("a spec");
            spec.retain(|field, _| !field.starts_with("host"));
            spec.insert("hostUsers".to_owned(), json!(false));
        }
        container_context(pod, rng)["procMount"] = mount;
    },
    |pod, rng| {
        let host_process = rng.random_bool(0.7);
        if host_process {
            pod["spec"]["hostNetwork"] = json!(true);
        }
        pod["spec"]["securityContext"]["windowsOptions"] = json!({"hostProcess": host_process, "runAsUserName": "x"});
    },
];

/// Mutations of a pod for Windows; most of the other fields may not be set there at all.
const WINDOWS: &[Mutation] = &[
    |pod, rng| {
        pod["spec"]["hostNetwork"] = json!(true);
        pod["spec"]["securityContext"]["windowsOptions"] = json!({"hostProcess": rng.random_bool(0.8)});
    },
    |pod, rng| some_context(pod, rng)["runAsNonRoot"] = one(rng, &[json!(true), json!(false), json!(null)]),
    |pod, rng| volume(pod, rng),
    |pod, rng| pod["spec"]["os"]["name"] = one(rng, &[json!("linux"), json!("windows")]),
    |pod, _| pod["spec"]["containers"][0]["livenessProbe"] = json!({"tcpSocket": {"host": "x", "port": 1}}),
];

fn volume(pod: &mut Value, rng: &mut StdRng) {
    let mut volume = one(
        rng,
        &[
            json!({"emptyDir": {}}),
            json!({}),
            json!({"configMap": {"name": "x"}}),
            json!({"secret": {"secretName": "x"}}),
            json!({"persistentVolumeClaim": {"claimName": "x"}}),
            json!({"csi": {"driver": "x.example"}}),
            json!({"projected": {"sources": []}}),
            json!({"downwardAPI": {"items": []}}),
            json!({"hostPath": {"path": "/x"}}),
            json!({"hostPath": {"path": "/x"}}),
            json!({"hostPath": null, "emptyDir": {}}),
            json!({"nfs": {"server": "x", "path": "/x"}}),
            json!({"iscsi": {"targetPortal": "x", "iqn": "iqn.2001-04.com.example:x", "lun": 0}}),
            json!({"gcePersistentDisk": {"pdName": "x"}}),
            json!({"awsElasticBlockStore": {"volumeID": "x"}}),
            json!({"flexVolume": {"driver": "x/x"}}),
            json!({"azureFile": {"secretName": "x", "shareName": "x"}}),
        ],
    );
    let volumes = &mut pod["spec"]["volumes"];
    let count = volumes.as_array().map_or(0, Vec::len);
    volume["name"] = json!(format!("volume-{count}"));
    push(volumes, volume);
}

fn push(list: &mut Value, element: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(element),
        None => *list = json!([element]),
    }
}
