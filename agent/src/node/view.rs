//! The kernel view of the node: opened once, kept open, opened again after a failure.
//!
//! A read blocks in the kernel, so it runs on a blocking thread. `holdfast-ebpf` implements the view; this file only owns it.

use std::sync::PoisonError;

use holdfast_model::CoverageState;
use holdfast_model::kernel::{self, Namespaces, RunningContainer};
use holdfast_proto::v1;

use super::{Sensors, SharedObservations};
use holdfast_agent_core::text;

/// What runs on the node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How it was read.
    pub method: kernel::ViewMethod,
    /// The node's own namespaces.
    pub host: Namespaces,
    /// Processes on the whole node.
    pub seen: u32,
    /// Every container with a process, by the Pod's uid as its cgroups name it.
    pub containers: Vec<RunningContainer>,
    /// Why it is not whole; none where it is.
    pub incomplete: Option<String>,
}

/// Why the kernel view is unavailable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewUnavailable {
    /// The state of coverage that it means.
    pub state: CoverageState,
    /// One plain sentence.
    pub reason: String,
}

/// A view that is open.
pub trait OpenView: Send {
    /// Everything that runs now.
    fn read(&mut self) -> Result<Reading, ViewUnavailable>;
}

/// Opens views of the node's kernel.
pub trait Kernel: Send + Sync {
    /// Opens a view and has looked through it once.
    fn open(&self) -> Result<Box<dyn OpenView>, ViewUnavailable>;
}

/// The kernel view of this node, or why it is unavailable.
pub(super) struct NodeView {
    kernel: std::sync::Arc<dyn Kernel>,
    view: Result<Box<dyn OpenView>, ViewUnavailable>,
    kept: SharedObservations,
}

impl NodeView {
    pub(super) fn new(kernel: Box<dyn Kernel>, kept: SharedObservations) -> Self {
        let shut =
            ViewUnavailable { state: CoverageState::Starting, reason: "the view has not been opened yet".to_owned() };
        Self { kernel: kernel.into(), view: Err(shut), kept }
    }

    /// Opens the view if it is unavailable.
    pub(super) async fn open(&mut self) {
        if self.view.is_err() {
            let kernel = self.kernel.clone();
            let opened = tokio::task::spawn_blocking(move || kernel.open()).await;
            self.view = opened.unwrap_or_else(|error| Err(failed(&error)));
            match &self.view {
                Ok(_) => tracing::info!("the kernel's view of this node is open"),
                Err(shut) => tracing::warn!(reason = shut.reason, "the kernel view of this node is unavailable"),
            }
        }
    }

    /// Reads now. After a failure the view stays unavailable until it is opened again.
    pub(super) async fn look(&mut self) -> Result<Reading, ViewUnavailable> {
        let mut view = std::mem::replace(&mut self.view, Err(under_way()))?;
        let looked = tokio::task::spawn_blocking(move || (view.read(), view)).await;
        let (reading, view) = looked.map_err(|error| failed(&error))?;
        match reading {
            Ok(mut reading) => {
                self.view = Ok(view);
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).annotate(&mut reading.containers);
                Ok(reading)
            }
            Err(shut) => {
                self.view = Err(shut.clone());
                Err(shut)
            }
        }
    }

    /// Its state, for the relay.
    pub(super) fn state(&self, sensors: &Sensors) -> v1::KernelViewState {
        let attached = sensors.attached.iter().map(|hook| text::clip(hook)).collect();
        match &self.view {
            Ok(_) => {
                // The view is available; the reason lists the sensors that are not attached.
                let (state, reason) =
                    (CoverageState::Seen.as_str().to_owned(), text::line(&sensors.unavailable.join("; ")));
                v1::KernelViewState { available: true, state, reason, sensors: attached, ..Default::default() }
            }
            Err(ViewUnavailable { state, reason }) => {
                let (state, reason) = (state.as_str().to_owned(), text::line(reason));
                v1::KernelViewState { available: false, state, reason, sensors: attached, ..Default::default() }
            }
        }
    }
}

/// What stays if a reading never comes back.
fn under_way() -> ViewUnavailable {
    ViewUnavailable { state: CoverageState::Failing, reason: "the last reading did not come back".to_owned() }
}

fn failed(error: &tokio::task::JoinError) -> ViewUnavailable {
    ViewUnavailable {
        state: CoverageState::Failing,
        reason: format!("the reading failed in the agent itself: {error}"),
    }
}
