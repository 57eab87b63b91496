//! What the nodes attested to, for people: node by node, container by container, what its processes may do.

use holdfast_api_types::Time;
use holdfast_controls::process::capability;
use holdfast_model::Attestation;
use holdfast_model::container_observation::{ContainerObservation, ObservationWindows, ObservedBehavior};
use holdfast_model::kernel::{NodeStatement, Privileges, ProcessGroup, RunningContainer, Seccomp};

use crate::render::escape::line;

/// The kernel's view in an attestation whose signatures have been checked; nothing where no node was asked.
pub fn text(attestation: &Attestation) -> String {
    if attestation.nodes.is_empty() {
        return String::new();
    }
    let mut out = "\n  What ran, by the kernel of each node:\n".to_owned();
    if let Some(ObservationWindows { unused_after, idle_after }) = attestation.windows {
        let seconds = |millis: i64| millis / 1000;
        out.push_str(&format!(
            "    unused is what was not used for {} s, quiet is what did nothing for {} s\n",
            seconds(unused_after),
            seconds(idle_after)
        ));
    }
    for signed in &attestation.nodes {
        match serde_json::from_str::<NodeStatement>(&signed.statement) {
            Ok(statement) => node(&statement, &mut out),
            Err(error) => out.push_str(&format!("    a statement that is unreadable: {}\n", line(&error.to_string()))),
        }
    }
    out
}

fn node(statement: &NodeStatement, out: &mut String) {
    let NodeStatement { node, method, process_count, read_at, pods, .. } = statement;
    let asked = if pods.len() == 1 { "Pod" } else { "Pods" };
    let read_at = Time(*read_at);
    out.push_str(&format!(
        "    node {}: asked for {} {asked}, {process_count} processes seen by {method}, {read_at} by its clock\n",
        line(node),
        pods.len()
    ));
    if statement.containers.is_empty() {
        out.push_str("      nothing of them is running\n");
    }
    for container in &statement.containers {
        let name = container.name.as_deref().map_or_else(|| unnamed(container), line);
        out.push_str(&format!("      Pod {}, {name}\n", line(&container.pod)));
        for group in &container.process_groups {
            out.push_str(&format!("        {}\n", process(group)));
        }
        let watched = container.observation.as_ref().map(watched);
        out.extend(watched.into_iter().map(|watched| format!("        {watched}\n")));
    }
}

/// `watched from its start, … to …; did shell 7 times`.
fn watched(of: &ContainerObservation) -> String {
    let since = if of.from_start { "watched from its start" } else { "watched, not from its start" };
    let times = |done: &ObservedBehavior| {
        format!("{} {} {}", done.kind, line(&done.object), times(done.count)).replace("  ", " ")
    };
    let behaviors: Vec<_> = of.behaviors.iter().map(times).collect();
    let behaviors = if behaviors.is_empty() { String::new() } else { format!("; did {}", behaviors.join(", ")) };
    let gaps: Vec<_> = of.gaps.iter().map(|gap| line(&gap.reason)).collect();
    let gaps = if gaps.is_empty() { String::new() } else { format!("; may have missed: {}", gaps.join(", ")) };
    format!("{since}, {} to {}{behaviors}{gaps}", Time(of.since), Time(of.until))
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn unnamed(container: &RunningContainer) -> String {
    let id: String = container.id.chars().take(12).collect();
    if id.is_empty() { "in no container".to_owned() } else { line(&id) }
}

fn process(group: &ProcessGroup) -> String {
    let others = match group.processes {
        0 | 1 => String::new(),
        many => format!(" and {} like it", many - 1),
    };
    format!("{} (pid {}){others}: {}", line(&group.name), group.pid, privileges(&group.privileges))
}

fn privileges(of: &Privileges) -> String {
    let reach = of.effective | of.permitted | of.bounding;
    let capabilities = match (reach, of.effective) {
        (0, _) => "no capabilities".to_owned(),
        (reach, 0) => format!("within reach {}", capability::names(reach)),
        (_, effective) => capability::names(effective),
    };
    let seccomp = match of.seccomp {
        Seccomp::Disabled => "no seccomp filter",
        Seccomp::Strict => "seccomp strict",
        Seccomp::Filter => "seccomp filter",
    };
    let new_privs = if of.no_new_privs { "no_new_privs" } else { "may gain privileges" };
    let root = match of.root_read_only {
        Some(true) => ", root read-only",
        Some(false) => ", root writable",
        None => "",
    };
    let label = of.lsm_label.as_deref().map_or(String::new(), |label| format!(", {}", line(label)));
    format!("uid {}, {capabilities}, {seccomp}, {new_privs}{root}{label}", of.uid)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use holdfast_model::kernel::{Namespaces, ViewMethod};
    use holdfast_model::{ClusterId, Nonce, RetestId};

    use super::*;

    #[test]
    fn a_node_reads_from_its_pods_to_what_each_process_may_do() {
        let confined = Privileges {
            uid: 101,
            gid: 101,
            effective: 0,
            permitted: 0,
            bounding: 1 << 10,
            seccomp: Seccomp::Filter,
            no_new_privs: true,
            namespaces: Namespaces::default(),
            lsm_label: None,
            root_read_only: Some(true),
        };
        let root = Privileges {
            uid: 0,
            effective: 1 << 21 | 1,
            bounding: 1 << 21 | 1,
            seccomp: Seccomp::Disabled,
            no_new_privs: false,
            lsm_label: Some("unconfined".into()),
            root_read_only: None,
            ..confined.clone()
        };
        let group = |privileges, processes, name: &str| ProcessGroup {
            privileges,
            processes,
            pid: 7,
            name: name.into(),
            started: 1,
        };
        let container = |id: &str, name: Option<&str>, group| RunningContainer {
            pod: "uid-1".into(),
            id: id.into(),
            name: name.map(Into::into),
            process_groups: group,
            ..RunningContainer::default()
        };
        let mut statement = NodeStatement {
            form: NodeStatement::FORM.into(),
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            cluster: ClusterId::from_bytes([3; 16]),
            node: "node-1".into(),
            boot: "b".into(),
            method: ViewMethod::TaskIterator,
            pods: vec!["uid-1".into()],
            containers: vec![
                container("c1", Some("web"), vec![group(confined, 4, "nginx\u{1b}[2J")]),
                container("0123456789abcdef", None, vec![group(root, 1, "sh")]),
            ],
            host: Namespaces::default(),
            process_count: 75,
            incomplete: None,
            read_at: 0,
            agent_version: "0".into(),
        };
        // A line at the margin, so that the view's own indentation is compared too.
        let mut out = "kernel:\n".to_owned();
        node(&statement, &mut out);
        statement.containers.clear();
        node(&statement, &mut out);
        expect![[r#"
            kernel:
                node node-1: asked for 1 Pod, 75 processes seen by task-iterator, 1970-01-01T00:00:00.000Z by its clock
                  Pod uid-1, web
                    nginx\u{1b}[2J (pid 7) and 3 like it: uid 101, within reach CAP_NET_BIND_SERVICE, seccomp filter, no_new_privs, root read-only
                  Pod uid-1, 0123456789ab
                    sh (pid 7): uid 0, CAP_SYS_ADMIN, CAP_CHOWN, no seccomp filter, may gain privileges, unconfined
                node node-1: asked for 1 Pod, 75 processes seen by task-iterator, 1970-01-01T00:00:00.000Z by its clock
                  nothing of them is running
        "#]]
        .assert_eq(&out);
    }

    #[test]
    fn how_long_a_container_was_watched_and_what_it_did_is_said() {
        let done = ObservedBehavior {
            kind: holdfast_model::SignalKind::Shell,
            object: String::new(),
            name: "sh".into(),
            pid: 7,
            count: 7,
            first: 0,
            last: 0,
        };
        let mut of = ContainerObservation {
            since: 0,
            from_start: true,
            until: 60_000,
            gaps: Vec::new(),
            capabilities: 0,
            root_written: false,
            token_read: false,
            behaviors: vec![done],
        };
        let span = "1970-01-01T00:00:00.000Z to 1970-01-01T00:01:00.000Z";
        assert_eq!(watched(&of), format!("watched from its start, {span}; did shell 7 times"));
        of.behaviors.clear();
        of.gaps
            .push(holdfast_model::container_observation::ObservationGap { kinds: Vec::new(), reason: "lost\n".into() });
        of.from_start = false;
        assert_eq!(watched(&of), format!("watched, not from its start, {span}; may have missed: lost\\n"));
    }
}
