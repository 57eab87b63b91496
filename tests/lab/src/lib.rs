//! The lab: real Kubernetes control planes on a bare machine, in seconds.
//!
//! One [`ControlPlane`] is an etcd, a kube-apiserver, a kube-controller-manager and, where a story needs Pods that become
//! ready, a kube-scheduler with kwok as its nodes. Each has its own folder, ports, certificate authority and kubeconfig, so
//! several stand side by side as a fleet. Tests, benches and `holdfast up` use it alike; it knows nothing of Holdfast.
//!
//! It starts only programs of its own, listens on loopback only, and leaves nothing running: every program dies with the
//! process that started it, even when that one is killed.

mod control_plane;
mod keeper;
mod manifests;
mod pki;
mod programs;

pub use control_plane::{ControlPlane, Options, free_ports};
pub use manifests::{apply, planted};
pub use programs::Programs;
