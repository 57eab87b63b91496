//! What a rule about running containers is shown, and what it answers. The rules stand in their controls' files, beside the
//! judges of specifications; who asks them, and about which containers, is `crate::running`'s part.

use std::borrow::Cow;

use holdfast_model::SignalKind;
use holdfast_model::container_observation::ListeningSocket;
use holdfast_model::kernel::{HostMount, Namespaces, Privileges};

use crate::facts::pod::PodSpec;

pub mod capability;
pub(crate) mod rights;
mod spec;

pub use spec::Spec;

/// What a control asks of a running container.
#[derive(Debug, Clone, Copy)]
pub enum Running {
    /// Each process, by what it may do.
    Process(fn(&Process<'_>) -> RuntimeVerdict),
    /// Each thing that the container mounts from its host.
    Mount(fn(&Mount<'_>) -> RuntimeVerdict),
    /// Each socket that listens in its network.
    Socket(fn(&ListeningSocket, &PodSpec) -> RuntimeVerdict),
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

/// The answer for one process, mount or socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeVerdict {
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

/// A thing that a container is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Capabilities, as far as the kernel tells their use.
    Capabilities,
    /// A root file system that can be written.
    WritableRoot,
    /// A token of the service account, mounted unasked.
    Token,
}
