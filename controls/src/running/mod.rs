//! Asks the controls about running containers: what the kernel shows, against what each control's rule for processes demands.
//! The counterpart of judging objects: those say what was asked for, the kernel what is so.
//!
//! A control whose judge passes may still be contradicted: by a Pod that outlived its template, by a runtime with other
//! defaults, by a program that changed itself. Each process gets one of three verdicts, and one that could not be read
//! never agrees. What a Pod's own specification explains belongs to the control that flags that specification: one cause is
//! one finding. Nothing here knows how processes were read, nor what follows from the answer; retests do.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::Location;
use holdfast_model::container_observation::{ListeningSocket, ObservationWindows};
use holdfast_model::kernel::{Namespaces, ProcessGroup, RunningContainer};

use crate::catalog::{self, Control, Judge};
use crate::facts::Workload;
use crate::facts::pod::{Placed, PodSpec, short};
use crate::process::{Mount, Process, Running, RuntimeVerdict, Spec};

pub mod allowance;
pub mod behavior;
mod idle;
#[cfg(test)]
mod tests;

pub use allowance::Used;

/// One container with its place in the cluster.
#[derive(Debug, Clone, Copy)]
pub struct ObservedContainer<'a> {
    /// The node that runs it.
    pub node: &'a str,
    /// Name of its Pod; its uid where no such Pod is listed.
    pub pod: &'a str,
    /// What the kernel shows.
    pub container: &'a RunningContainer,
    /// The host's own namespaces.
    pub host: &'a Namespaces,
    /// The Pod's specification; none for a Pod that the API server does not list.
    pub listed: Option<&'a PodSpec>,
    /// What its workload asks for now, which an older Pod may not be: where it has a template.
    pub template: Option<&'a Workload>,
    /// How long a container must have been watched.
    pub windows: ObservationWindows,
}

/// What a control makes of running containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeJudgement {
    /// Where the kernel contradicts the control, one a kind of process.
    pub contradictions: Vec<Location>,
    /// What could not be read, in plain words.
    pub unread: Vec<String>,
    /// Processes that were asked.
    pub processes: u64,
    /// Containers that were asked.
    pub containers: usize,
    /// What the workload's containers use, settled once all have been asked.
    used: Used,
}

impl RuntimeJudgement {
    /// Asks a control about one container and adds what it answers. A control without a rule for processes adds nothing.
    pub fn ask(&mut self, control: &Control, seen: &ObservedContainer<'_>) {
        let Some(running) = control.running else { return };
        if let Some(why) = &seen.container.incomplete {
            self.take(seen, "the whole of it", RuntimeVerdict::Unread(why.clone().into()));
        }
        if seen.container.id.is_empty() {
            return self.ask_escaped(seen);
        }
        let spec = seen.spec();
        self.containers += 1;
        self.processes += u64::from(seen.container.processes());
        match running {
            Running::Process(rule) => {
                for group in &seen.container.process_groups {
                    let verdict = rule(&Process { privileges: &group.privileges, host: seen.host, spec });
                    self.take(seen, &process(group), verdict);
                }
            }
            Running::Mount(rule) => match &seen.container.host_mounts {
                None => self.take(seen, "its mounts", RuntimeVerdict::Unread("its mounts could not be read".into())),
                Some(mounts) => {
                    for mount in mounts {
                        let verdict = rule(&Mount { mount, pod: &seen.container.pod, spec });
                        self.take(seen, &format!("mount {}", short(&mount.target)), verdict);
                    }
                }
            },
            Running::Socket(rule) => self.ask_sockets(rule, seen),
            Running::Use(allowance) => self.used.take(allowance, seen, spec),
            Running::Behaviors(kinds) => {
                for verdict in idle::judge(control, kinds, seen) {
                    self.take(seen, "what it did", verdict);
                }
            }
        }
    }

    /// What only shows once every container has been asked.
    pub fn settle(mut self) -> Self {
        let (contradictions, unread) = std::mem::take(&mut self.used).settle();
        self.contradictions.extend(contradictions);
        self.unread.extend(unread);
        self.contradictions.sort();
        self.contradictions.dedup();
        self
    }

    /// A network is the Pod's: its sockets are nobody's in particular.
    fn ask_sockets(&mut self, rule: fn(&ListeningSocket, &PodSpec) -> RuntimeVerdict, seen: &ObservedContainer<'_>) {
        let nodes_own = |group: &ProcessGroup| group.privileges.namespaces.net == seen.host.net;
        let unread = |why: &'static str| RuntimeVerdict::Unread(why.into());
        let Some(pod) = seen.listed else { return self.take(seen, "its sockets", unread("no Pod declares its ports")) };
        if pod.host_network || seen.container.process_groups.iter().any(nodes_own) {
            // `workload.host-network` says so; that the socket is gone it does not prove.
            return self.take(
                seen,
                "its sockets",
                unread("it has the node's network, where nobody can say whose a socket is"),
            );
        }
        let Some(listening) = &seen.container.listening else {
            return self.take(seen, "its sockets", unread("they could not be read"));
        };
        for socket in listening {
            let place = format!("port {}/{}", socket.port, socket.transport);
            let known = self.contradictions.len();
            self.take(seen, &place, rule(socket, pod));
            self.contradictions[known..].iter_mut().for_each(|place| place.container = None);
        }
    }

    /// Processes in the Pod's own control group are the runtime's, as `conmon` is, and live in the host's namespaces. One that
    /// does not has left its container, and nobody can say which.
    fn ask_escaped(&mut self, seen: &ObservedContainer<'_>) {
        for group in &seen.container.process_groups {
            let namespaces = group.privileges.namespaces;
            if namespaces != *seen.host || namespaces.each().contains(&0) {
                self.take(seen, &process(group), RuntimeVerdict::Unread("it is in no container of its Pod".into()));
            }
        }
    }

    fn take(&mut self, seen: &ObservedContainer<'_>, what: &str, verdict: RuntimeVerdict) {
        let place = seen.place();
        match verdict {
            RuntimeVerdict::Agrees => {}
            RuntimeVerdict::Contradicts(fact) => self.contradictions.push(Location {
                path: what.to_owned(),
                value: fact,
                container: Some(seen.called()),
                object: Some(place),
            }),
            RuntimeVerdict::Unread(why) => {
                self.unread.push(format!("{place}, container {}, {what}: {why}", seen.called()))
            }
        }
    }
}

/// Every control that the kernel contradicts in a container at this moment, each with its places, as evidence for findings. A
/// control that the Pod's own specification meets is not among them where its rule is about processes: that the
/// specification is not in force is one finding of its own. What could not be read is no evidence. What takes time has its
/// own ways: behaviors are reported by sensors as they happen, and use is the whole workload's ([`Used`]).
pub fn evidence(seen: &ObservedContainer<'_>) -> Vec<(&'static Control, Vec<Location>)> {
    let mut all = Vec::new();
    let at_once = |control: &&Control| control.running.is_some_and(|running| !running.takes_time());
    for control in catalog::all().filter(at_once) {
        let of_the_specification = matches!(control.running, Some(Running::Process(_)))
            && !matches!(control.judge, Judge::Processes)
            && seen.listed.is_some_and(|pod| control.is_met_by(pod));
        let mut shown = RuntimeJudgement::default();
        if !of_the_specification {
            shown.ask(control, seen);
        }
        let shown = shown.settle();
        if !shown.contradictions.is_empty() {
            all.push((control, shown.contradictions));
        }
    }
    all
}

impl<'a> ObservedContainer<'a> {
    /// What the container was asked to be, where its Pod lists it.
    fn spec(&self) -> Option<Spec<'a>> {
        let (pod, name) = (self.listed?, self.container.name.as_deref()?);
        let container: Placed<'a> = pod.all_containers().find(|placed| placed.container.name == name)?;
        Some(Spec { pod, container })
    }

    fn place(&self) -> String {
        format!("Pod {} on node {}", short(self.pod), short(self.node))
    }

    fn called(&self) -> String {
        let Some(name) = &self.container.name else {
            let id: String = self.container.id.chars().take(12).collect();
            return format!("{id} (not listed)");
        };
        short(name)
    }
}

/// `process nginx (pid 4711) and 3 like it`.
fn process(group: &ProcessGroup) -> String {
    let others = group.processes.saturating_sub(1);
    let like_it = if others == 0 { String::new() } else { format!(" and {others} like it") };
    format!("process {} (pid {}){like_it}", short(&group.name), group.pid)
}

/// The containers of a node that are asked: all but the sandboxes.
pub fn asked(containers: &[RunningContainer]) -> impl Iterator<Item = &RunningContainer> {
    let sandboxes = sandboxes(containers);
    containers.iter().filter(move |container| !sandboxes.contains(container.id.as_str()))
}

/// The containers that hold Pods' namespaces open, by id: no containers of the API server, each one process that sleeps, and
/// the first of its Pod. Runtimes give them rights of their own choice; they run nothing of the workload's, and are not to be
/// asked. A container that only calls itself so is asked like any other.
fn sandboxes(containers: &[RunningContainer]) -> BTreeSet<&str> {
    let mut first: BTreeMap<&str, (u64, &RunningContainer)> = BTreeMap::new();
    for container in containers.iter().filter(|container| !container.id.is_empty()) {
        let Some(started) = container.process_groups.iter().map(|group| group.started).min() else { continue };
        let earliest = first.entry(container.pod.as_str()).or_insert((started, container));
        if started < earliest.0 {
            *earliest = (started, container);
        }
    }
    let sleeps = |container: &RunningContainer| {
        container.name.is_none()
            && matches!(&container.process_groups[..], [only] if only.processes == 1 && only.name == "pause")
    };
    first.into_values().filter(|(_, container)| sleeps(container)).map(|(_, container)| container.id.as_str()).collect()
}
