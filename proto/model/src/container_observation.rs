//! What a node's sensors observed of a container over time, since when, and what they may have missed.
//!
//! A view of the kernel shows the present; only observation over time shows that something never happened. So everything here
//! has its bounds: from when to when, whether that is the container's whole lifetime, and where events may have been missed. What
//! is unknown is an [`ObservationGap`]; absence here means "not done" only where no gap concerns it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::control::string_enum;
use crate::runtime_observation::SignalKind;

string_enum!(
    /// The protocol of a socket.
    Transport, "protocol" {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
);

/// A socket that receives from anyone: a TCP socket that listens, or a UDP socket that is bound and not connected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListeningSocket {
    /// Its protocol.
    pub transport: Transport,
    /// Its own address; unspecified for every address of the container.
    pub address: IpAddr,
    /// Its own port.
    pub port: u16,
}

/// What the sensors observed of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObservation {
    /// When observation began: with the container, where the sensors were running before it.
    pub since: UnixMillis,
    /// Whether that is the container's own start.
    pub from_start: bool,
    /// Until when everything is accounted for: the last heartbeat probe of the sensors.
    pub until: UnixMillis,
    /// Why something of that time may be unknown; none where nothing is.
    pub gaps: Vec<ObservationGap>,
    /// Capabilities that it used; bit n is capability n of `linux/capability.h`. CAP_SYS_ADMIN is not observed.
    pub capabilities: u64,
    /// Whether it changed its own root file system.
    pub root_written: bool,
    /// Whether it opened a token of its service account.
    pub token_read: bool,
    /// Its behaviors, folded; without starts of programs and connections.
    pub behaviors: Vec<ObservedBehavior>,
}

/// Equal behaviors of one container, with a count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedBehavior {
    /// The kind of behavior.
    pub kind: SignalKind,
    /// What distinguishes behaviors of one kind: a capability, a system call, a class of file.
    pub object: String,
    /// The name of the first process with it.
    pub name: String,
    /// That process, in the host's pid namespace.
    pub pid: u32,
    /// How often.
    pub count: u64,
    /// When first.
    pub first: UnixMillis,
    /// When last.
    pub last: UnixMillis,
}

/// Something that may have been missed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObservationGap {
    /// Behaviors of these kinds; of every kind where none is named.
    pub kinds: Vec<SignalKind>,
    /// Why, in one plain sentence.
    pub reason: String,
}

/// How long a container must have been observed before the absence of a behavior counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationWindows {
    /// Milliseconds after which what was never used counts as unused.
    pub unused_after: UnixMillis,
    /// Milliseconds without a behavior after which a container counts as idle.
    pub idle_after: UnixMillis,
}

impl ContainerObservation {
    /// How long everything is accounted for.
    pub fn millis(&self) -> UnixMillis {
        (self.until - self.since).max(0)
    }

    /// Why a behavior of these kinds may have been missed, if it may.
    pub fn gap(&self, kinds: &[SignalKind]) -> Option<&str> {
        let concerns =
            |gap: &&ObservationGap| gap.kinds.is_empty() || gap.kinds.iter().any(|kind| kinds.contains(kind));
        self.gaps.iter().find(concerns).map(|gap| gap.reason.as_str())
    }
}

impl Default for ObservationWindows {
    /// A day, in which most programs have shown all their behaviors, and ten minutes.
    fn default() -> Self {
        Self { unused_after: 24 * 60 * 60 * 1000, idle_after: 10 * 60 * 1000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_concerns_the_kinds_that_it_names_or_all() {
        let watched = |kinds: &[SignalKind]| ContainerObservation {
            since: 10,
            from_start: true,
            until: 5,
            gaps: vec![ObservationGap { kinds: kinds.to_vec(), reason: "lost".into() }],
            capabilities: 0,
            root_written: false,
            token_read: false,
            behaviors: Vec::new(),
        };
        assert_eq!(watched(&[]).gap(&[SignalKind::Shell]), Some("lost"));
        assert_eq!(watched(&[SignalKind::Bpf, SignalKind::Shell]).gap(&[SignalKind::Shell]), Some("lost"));
        assert_eq!(watched(&[SignalKind::Bpf]).gap(&[SignalKind::Shell]), None);
        assert_eq!(watched(&[]).millis(), 0, "a clock that was set back is no time observed");
    }
}
