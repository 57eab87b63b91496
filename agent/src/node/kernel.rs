//! The node's kernel as `holdfast-ebpf` reads it.

use holdfast_ebpf::{KernelView, Unavailable};

use super::{Kernel, OpenView, Reading, ViewUnavailable};

/// The kernel of this node.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeKernel {
    /// Whether to read /proc where there is no task iterator. It costs CAP_SYS_PTRACE, so nobody does it unasked.
    pub proc_fallback: bool,
}

impl Kernel for NodeKernel {
    fn open(&self) -> Result<Box<dyn OpenView>, ViewUnavailable> {
        let view = match KernelView::open() {
            Err(_) if self.proc_fallback => KernelView::open_proc(),
            opened => opened,
        };
        view.map(|view| Box::new(view) as Box<dyn OpenView>).map_err(|error| shut(&error))
    }
}

impl OpenView for KernelView {
    fn read(&mut self) -> Result<Reading, ViewUnavailable> {
        let view = KernelView::read(self).map_err(|error| shut(&error))?;
        let incomplete =
            (view.unattributed > 0).then(|| format!("{} processes are attributed to no container", view.unattributed));
        Ok(Reading {
            method: view.method,
            host: view.host,
            seen: view.process_count,
            containers: view.containers,
            incomplete,
        })
    }
}

fn shut(error: &Unavailable) -> ViewUnavailable {
    ViewUnavailable { state: error.state(), reason: error.to_string() }
}
