//! The lab: real Kubernetes clusters on a bare machine, in seconds.
//!
//! A [`ControlPlane`] is an etcd, a kube-apiserver, a kube-controller-manager and, where Pods must become ready, a
//! kube-scheduler with nodes: simulated by kwok, or real ones that run Pods. Each has its own folder, ports, certificate
//! authority and kubeconfig, so that several run side by side as a fleet. Tests, benchmarks and `holdfast up` use it; it
//! knows nothing of Holdfast.
//!
//! It starts only its own programs and listens on loopback or on a network of its own. Every program ends with the process
//! that started it, even when that is killed.

mod arguments;
mod control_group;
mod control_plane;
mod guard;
mod image;
mod keeper;
mod manifests;
mod namespace;
mod network;
mod node;
mod node_settings;
mod nodes;
mod pki;
mod programs;

pub use control_plane::{ControlPlane, Options, free_ports};
pub use guard::left_behind;
pub use image::SHELL;
pub use manifests::{apply, planted};
pub use node::possible as real_nodes_possible;
pub use programs::{Programs, helm};
