//! What this node's kernel says of itself.

use holdfast_agent_core::text;

/// The boot of this node; empty where it cannot be read.
pub(super) fn boot() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

/// The kernel's release; empty where it cannot be read.
pub(super) fn kernel_release() -> String {
    read("/proc/sys/kernel/osrelease")
}

/// The relay refuses a node without a boot id, and names a kernel without a release as unknown.
fn read(path: &str) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text::line(&text),
        Err(error) => {
            tracing::warn!(path, %error, "the kernel does not say what it is");
            String::new()
        }
    }
}
