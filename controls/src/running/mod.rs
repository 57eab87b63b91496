//! What the kernel must show of running processes for a control to hold there. The counterpart of a control's judge: that
//! one reads what was asked for, this one what is so.
//!
//! A control whose judge passes may still be contradicted: by a Pod that outlived its template, by a runtime with other
//! defaults, by a program that changed itself. Each process answers with one of three words, and one that could not be read
//! never agrees. What a Pod's own specification explains belongs to the control that flags that specification: one cause is
//! one finding. Nothing here knows how processes were read, nor what follows from the answer; retests do.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::container_observation::{ListeningSocket, ObservationWindows};
use holdfast_model::kernel::{HostMount, Namespaces, Privileges, ProcessGroup, RunningContainer};
use holdfast_model::{Location, SignalKind};

use crate::catalog::{self, Control, Judge};
use crate::facts::Workload;
use crate::facts::pod::{Placed, PodSpec, short};

pub mod act;
pub mod allowance;
pub mod capability;
mod quiet;
mod rules;
mod spec;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Used};
pub(crate) use rules::*;
pub use spec::Spec;

/// What a control asks of a running container.
#[derive(Debug, Clone, Copy)]
pub enum Running {
    /// Each process, by what it may do.
    Process(fn(&Process<'_>) -> Word),
    /// Each thing that the container mounts from its host.
    Mount(fn(&Mount<'_>) -> Word),
    /// Each socket that listens in its network.
    Socket(fn(&ListeningSocket, &PodSpec) -> Word),
    /// Whether what it is given is used: by the workload as a whole, over time.
    Use(Allowance),
    /// Behaviors of these kinds, over time.
    Behaviors(&'static [SignalKind]),
}

impl Running {
    /// Whether the answer rests on watching, not on a look at one moment.
    pub fn takes_time(&self) -> bool {
        matches!(self, Self::Use(_) | Self::Behaviors(_))
    }
}

/// The answer for one process or mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It stands as the control wants it, or its specification explains it and another control answers for that.
    Agrees,
    /// It does not: the kernel's fact in plain words.
    Contradicts(String),
    /// It could not be read.
    Unread(Cow<'static, str>),
}

/// One process as a control sees it.
#[derive(Debug, Clone, Copy)]
pub struct Process<'a> {
    /// What it may do.
    pub privileges: &'a Privileges,
    /// The host's own namespaces.
    pub host: &'a Namespaces,
    /// What its container was asked to be; none for a container that no Pod of the API server lists.
    pub spec: Option<Spec<'a>>,
}

/// One mount from the host as a control sees it.
#[derive(Debug, Clone, Copy)]
pub struct Mount<'a> {
    /// The mount.
    pub mount: &'a HostMount,
    /// uid of the Pod.
    pub pod: &'a str,
    /// What its container was asked to be.
    pub spec: Option<Spec<'a>>,
}

/// One container with its place in the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
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
pub struct Shown {
    /// Where the kernel contradicts the control, one a kind of process.
    pub contradictions: Vec<Location>,
    /// What could not be read, in plain words.
    pub unread: Vec<String>,
    /// Processes that were asked.
    pub processes: u64,
    /// Containers that were asked.
    pub containers: usize,
    /// What the workload's containers use, to be told once all have been asked.
    used: Used,
}

impl Shown {
    /// Asks a control about one container and adds what it answers. A control without an eye for processes adds nothing.
    pub fn ask(&mut self, control: &Control, seen: &Seen<'_>) {
        let Some(running) = control.running else { return };
        if let Some(why) = &seen.container.incomplete {
            self.take(seen, "the whole of it", Word::Unread(why.clone().into()));
        }
        if seen.container.id.is_empty() {
            return self.ask_strays(seen);
        }
        let spec = seen.spec();
        self.containers += 1;
        self.processes += u64::from(seen.container.processes());
        match running {
            Running::Process(rule) => {
                for group in &seen.container.process_groups {
                    let word = rule(&Process { privileges: &group.privileges, host: seen.host, spec });
                    self.take(seen, &process(group), word);
                }
            }
            Running::Mount(rule) => match &seen.container.host_mounts {
                None => self.take(seen, "its mounts", Word::Unread("its mounts could not be read".into())),
                Some(mounts) => {
                    for mount in mounts {
                        let word = rule(&Mount { mount, pod: &seen.container.pod, spec });
                        self.take(seen, &format!("mount {}", short(&mount.target)), word);
                    }
                }
            },
            Running::Socket(rule) => self.ask_sockets(rule, seen),
            Running::Use(allowance) => self.used.take(allowance, seen, spec),
            Running::Behaviors(kinds) => {
                for word in quiet::judge(control, kinds, seen) {
                    self.take(seen, "what it did", word);
                }
            }
        }
    }

    /// What only shows once every container has been asked.
    pub fn settle(mut self) -> Self {
        let (contradictions, unread) = std::mem::take(&mut self.used).told();
        self.contradictions.extend(contradictions);
        self.unread.extend(unread);
        self.contradictions.sort();
        self.contradictions.dedup();
        self
    }

    /// A network is the Pod's: its sockets are nobody's in particular.
    fn ask_sockets(&mut self, rule: fn(&ListeningSocket, &PodSpec) -> Word, seen: &Seen<'_>) {
        let nodes_own = |group: &ProcessGroup| group.privileges.namespaces.net == seen.host.net;
        let unread = |why: &'static str| Word::Unread(why.into());
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
    fn ask_strays(&mut self, seen: &Seen<'_>) {
        for group in &seen.container.process_groups {
            let namespaces = group.privileges.namespaces;
            if namespaces != *seen.host || namespaces.each().contains(&0) {
                self.take(seen, &process(group), Word::Unread("it is in no container of its Pod".into()));
            }
        }
    }

    fn take(&mut self, seen: &Seen<'_>, what: &str, word: Word) {
        let place = seen.place();
        match word {
            Word::Agrees => {}
            Word::Contradicts(fact) => self.contradictions.push(Location {
                path: what.to_owned(),
                value: fact,
                container: Some(seen.called()),
                object: Some(place),
            }),
            Word::Unread(why) => self.unread.push(format!("{place}, container {}, {what}: {why}", seen.called())),
        }
    }
}

/// Every control that the kernel contradicts in a container at this moment, each with its places, as evidence for findings. A
/// control that the Pod's own specification meets is not among them where its rule is about processes: that the
/// specification is not in force is one finding of its own. What could not be read is no evidence. What takes time has its
/// own ways: behaviors are told by sensors as they are done, and use is the whole workload's ([`Used`]).
pub fn evidence(seen: &Seen<'_>) -> Vec<(&'static Control, Vec<Location>)> {
    let mut all = Vec::new();
    let at_once = |control: &&Control| control.running.is_some_and(|running| !running.takes_time());
    for control in catalog::all().filter(at_once) {
        let of_the_specification = matches!(control.running, Some(Running::Process(_)))
            && !matches!(control.judge, Judge::Processes)
            && seen.listed.is_some_and(|pod| is_met(control, pod));
        let mut shown = Shown::default();
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

impl<'a> Seen<'a> {
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
