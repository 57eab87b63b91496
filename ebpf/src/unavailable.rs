//! Why the kernel cannot be observed: each reason is one plain sentence and one coverage state, never an empty view.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::programs::ProgramError;
use holdfast_model::CoverageState;

/// Why there is no view of the running processes, or no sensor.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// `/sys/kernel/btf/vmlinux` does not exist or cannot be read: no program can be relocated for this kernel.
    #[error("the kernel does not describe its types (/sys/kernel/btf/vmlinux): {0}")]
    NoBtf(String),
    /// EPERM or EACCES from the bpf system call.
    #[error("the kernel refuses BPF programs to this process: CAP_BPF and CAP_PERFMON are needed")]
    PermissionDenied,
    /// The kernel is older than 5.8.
    #[error("this kernel has no BPF task iterator: {0}")]
    NoIterator(String),
    /// Process 1 is the reader itself or belongs to a Pod.
    #[error("only a Pod's processes can be seen from here, not the node's: hostPID is not set")]
    NotHostPid,
    /// The kernel rejects the program.
    #[error("the kernel does not accept the program {program}: {reason}")]
    ProgramRejected {
        /// Its name.
        program: &'static str,
        /// The message of the kernel or the loader.
        reason: String,
    },
    /// A reading was started and did not finish.
    #[error("the kernel could not be read to the end: {0}")]
    ReadFailed(#[from] io::Error),
    /// The kernel sent what this version does not understand, or nothing.
    #[error("the kernel's data cannot be understood: {0}")]
    InvalidData(&'static str),
}

impl Unavailable {
    /// The coverage state that follows.
    pub fn state(&self) -> CoverageState {
        match self {
            Self::PermissionDenied | Self::NotHostPid => CoverageState::Forbidden,
            Self::NoBtf(_) | Self::NoIterator(_) | Self::ProgramRejected { .. } => CoverageState::Absent,
            Self::ReadFailed(_) | Self::InvalidData(_) => CoverageState::Failing,
        }
    }

    /// An object that could not be loaded.
    pub(crate) fn not_loaded(object: &'static str, error: &EbpfError) -> Self {
        Self::rejected(object, error)
    }

    /// A program that could not be loaded or attached.
    pub(crate) fn not_attached(program: &'static str, error: &ProgramError) -> Self {
        Self::rejected(program, error)
    }

    fn rejected(program: &'static str, error: &(dyn Error + 'static)) -> Self {
        match is_permission_denied(error) {
            true => Self::PermissionDenied,
            false => Self::ProgramRejected { program, reason: chain(error) },
        }
    }
}

/// Whether the kernel answered EPERM or EACCES. The verifier answers EACCES too, but always with a log.
pub(crate) fn is_permission_denied(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied))
        && !chain(error).contains("processed ")
}

/// The whole chain of causes in one line of bounded length.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let all: Vec<String> = causes(error).map(|cause| cause.to_string()).collect();
    let text = all.join(": ").replace(char::is_control, " ");
    // The verifier's reason stands at the end of its log.
    let from = text.char_indices().rev().nth(399).map_or(0, |(at, _)| at);
    text[from..].to_owned()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}
