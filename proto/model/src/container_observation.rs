//! What a node can say of a container over time: what its sensors saw it do since when, and what it does not know.
//!
//! A view of the kernel says what is; only watching says what was never done. So everything here is said with its bounds:
//! from when to when, whether that is the container's whole life, and where the sensors may have missed something. What is
//! unknown is a [`ObservationGap`]; nothing that is absent here was "not done" unless no gap speaks against it.

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

/// A socket that takes what others send: a TCP socket that listens, or a UDP socket that is bound and connected to nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListeningSocket {
    /// Its protocol.
    pub transport: Transport,
    /// Its own address; unspecified for every address of the container.
    pub address: IpAddr,
    /// Its own port.
    pub port: u16,
}

/// What the sensors can say of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerObservation {
    /// When watching began: with the container, where the sensors were open before it.
    pub since: UnixMillis,
    /// Whether that is the container's own start.
    pub from_start: bool,
    /// Until when everything is accounted for: the sensors' last proof that they see and lost nothing.
    pub until: UnixMillis,
    /// Why something of that time may be unknown; none where nothing is.
    pub gaps: Vec<ObservationGap>,
    /// Capabilities that let it pass; bit n is capability n of `linux/capability.h`. CAP_SYS_ADMIN is not told.
    pub capabilities: u64,
    /// Whether it changed its own root file system.
    pub root_written: bool,
    /// Whether it opened a token of its service account.
    pub token_read: bool,
    /// What it did, folded; starts of programs and connections left out.
    pub behaviors: Vec<ObservedBehavior>,
}

/// Equal behaviors of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedBehavior {
    /// What was done.
    pub kind: SignalKind,
    /// What tells behaviors of one kind apart: a capability, a call, a sort of file.
    pub object: String,
    /// Name of the process that did it first.
    pub name: String,
    /// That process, as the host numbers it.
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

/// How long a container must have been watched before what it did not do counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationWindows {
    /// Milliseconds after which what was never used is called unused.
    pub unused_after: UnixMillis,
    /// Milliseconds without an act after which a container is quiet.
    pub idle_after: UnixMillis,
}

impl ContainerObservation {
    /// How long everything is accounted for.
    pub fn millis(&self) -> UnixMillis {
        (self.until - self.since).max(0)
    }

    /// Why an act of these kinds may have been missed, if it may.
    pub fn gap(&self, kinds: &[SignalKind]) -> Option<&str> {
        let concerns =
            |gap: &&ObservationGap| gap.kinds.is_empty() || gap.kinds.iter().any(|kind| kinds.contains(kind));
        self.gaps.iter().find(concerns).map(|gap| gap.reason.as_str())
    }
}

impl Default for ObservationWindows {
    /// A day, in which most programs have done what they do, and ten minutes.
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
        assert_eq!(watched(&[]).millis(), 0, "a clock that was set back is no time watched");
    }
}
