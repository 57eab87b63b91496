//! A retest: the order to look again, and the seven possible answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::{ControlId, Method, string_enum};
use crate::id::{Nonce, RetestId};
use crate::resource::Resource;

/// What an aggregator may ask an agent: judge this control on this resource by a fresh read. There is no other kind of order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetestOrder {
    /// Names the order; an answer repeats it.
    pub retest: RetestId,
    /// Issued after the claim, so a read that carries it was caused by the claim.
    pub nonce: Nonce,
    /// The subject.
    pub resource: Resource,
    /// The uid that the finding was last seen on; empty when unknown. Another uid under the same name is the present subject.
    pub uid: String,
    /// The control to judge.
    pub control: ControlId,
    /// The control's version at the time of the claim.
    pub control_version: u32,
    /// What the control's proof needs and the cluster could do when the claim was made. One that was lost since makes the
    /// answer inconclusive, never an easier pass.
    pub methods: Vec<Method>,
}

string_enum!(
    /// The answer to a retest.
    Verdict, "verdict" {
        /// The control holds on everything that was read.
        Fixed = "fixed",
        /// It still fails; the attestation says where.
        StillFailing = "still-failing",
        /// The subject is proved absent.
        WorkloadDeleted = "workload-deleted",
        /// The platform owner took the namespace out of scope.
        NamespaceOutOfScope = "namespace-out-of-scope",
        /// The agent has another version of the control, or none.
        ControlChanged = "control-changed",
        /// The API server did not answer.
        Unreachable = "unreachable",
        /// It answered, but not with what the proof needs: a right is missing, an object would not parse.
        Inconclusive = "inconclusive",
    }
);

impl Verdict {
    /// Whether the answer settles the question; the others are tried again.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Unreachable | Self::Inconclusive)
    }
}

/// One object, or one list, that was read for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRead {
    /// The API path that was asked, as `kubectl get --raw` takes it.
    pub path: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// `metadata.uid` of an object; empty for a list or an absence.
    pub uid: String,
    /// `metadata.resourceVersion` of the object or the list.
    pub resource_version: String,
    /// SHA-256 of the answer's body.
    #[serde(with = "crate::canonical::hex_bytes")]
    pub hash: Vec<u8>,
}
