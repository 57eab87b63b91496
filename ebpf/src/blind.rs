//! Why the kernel can't be looked at: each reason is one plain sentence and one state of coverage, never an empty view.

use std::io;

use aya::EbpfError;
use aya::programs::ProgramError;
use holdfast_model::CoverageState;

/// Why there is no view of the running processes.
#[derive(Debug, thiserror::Error)]
pub enum Blind {
    /// `/sys/kernel/btf/vmlinux` is not there or can't be read: nothing can be fitted to this kernel.
    #[error("the kernel does not say how its structures are laid out (/sys/kernel/btf/vmlinux): {0}")]
    NoTypes(String),
    /// EPERM or EACCES from the bpf system call.
    #[error("the kernel refuses BPF programs to this process: CAP_BPF and CAP_PERFMON are needed")]
    Refused,
    /// The kernel is older than 5.8.
    #[error("this kernel has no BPF task iterator: {0}")]
    NoIterator(String),
    /// The first process here is the reader itself or belongs to a Pod.
    #[error("only a Pod's processes can be seen from here, not the node's: hostPID is not set")]
    NotTheNode,
    /// The program does not fit this kernel.
    #[error("the kernel does not accept the program {program}: {reason}")]
    Unfit {
        /// Its name.
        program: &'static str,
        /// The kernel's or the loader's words.
        reason: String,
    },
    /// A reading was begun and did not end.
    #[error("the processes could not be read to the end: {0}")]
    Broken(#[from] io::Error),
    /// The kernel sent what this version doesn't understand, or no process at all.
    #[error("the kernel's answer makes no sense: {0}")]
    Garbled(&'static str),
}

impl Blind {
    /// The state of coverage that it means.
    pub fn state(&self) -> CoverageState {
        match self {
            Self::Refused | Self::NotTheNode => CoverageState::Forbidden,
            Self::NoTypes(_) | Self::NoIterator(_) | Self::Unfit { .. } => CoverageState::Absent,
            Self::Broken(_) | Self::Garbled(_) => CoverageState::Failing,
        }
    }

    pub(crate) fn unloaded(error: &EbpfError) -> Self {
        match refused(error) {
            true => Self::Refused,
            false => Self::Unfit { program: "view", reason: chain(error) },
        }
    }

    pub(crate) fn unattached(program: &'static str, error: &ProgramError) -> Self {
        match refused(error) {
            true => Self::Refused,
            false => Self::Unfit { program, reason: chain(error) },
        }
    }
}

/// Whether the kernel said EPERM or EACCES. The verifier says EACCES too, but never without words of its own.
pub(crate) fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error)
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied))
        && !chain(error).contains("processed ")
}

/// The whole chain in one line of bounded length.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let all: Vec<String> = causes(error).map(|cause| cause.to_string()).collect();
    let text = all.join(": ").replace(char::is_control, " ");
    // The verifier's reason stands at the end of its log.
    let from = text.char_indices().rev().nth(399).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}
