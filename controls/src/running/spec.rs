//! What a container was asked to be, as far as the kernel can be compared with it.

use super::capability;
use crate::facts::pod::{Placed, PodSpec, Profile, SecurityContext};

/// The specification of one running container.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// Its Pod's.
    pub pod: &'a PodSpec,
    /// Its own.
    pub container: Placed<'a>,
}

impl<'a> Spec<'a> {
    fn context(&self) -> Option<&'a SecurityContext> {
        self.container.security_context()
    }

    /// Whether it is privileged. The runtime then leaves out most of the confinement that other fields ask for.
    pub fn is_privileged(&self) -> bool {
        self.context().and_then(|context| context.privileged) == Some(true)
    }

    /// Whether it was put into a running Pod, to debug.
    pub fn is_ephemeral(&self) -> bool {
        self.container.list == "ephemeralContainers"
    }

    /// The seccomp profile that counts: its own, else the Pod's.
    pub fn seccomp(&self) -> Option<&'a Profile> {
        let pod = self.pod.security_context.as_deref();
        let own = self.context().and_then(|context| context.seccomp_profile.as_ref());
        own.or(pod.and_then(|context| context.seccomp_profile.as_ref()))
    }

    /// The user that it asks for: its own, else the Pod's; none leaves it to the image.
    pub fn user(&self) -> Option<i64> {
        let own = self.context().and_then(|context| context.run_as_user);
        own.or(self.pod.security_context.as_deref().and_then(|context| context.run_as_user))
    }

    /// The capabilities that it adds; all of them where it is privileged.
    pub fn adds(&self) -> u64 {
        if self.is_privileged() {
            return capability::ALL;
        }
        let added = self.context().and_then(|context| context.capabilities.as_ref());
        added.map_or(0, |capabilities| capability::set(capabilities.add.iter().map(|name| &**name)))
    }

    /// Whether it drops all that it does not add.
    pub fn drops_all(&self) -> bool {
        let dropped = self.context().and_then(|context| context.capabilities.as_ref()?.drop.as_ref());
        dropped.is_some_and(|names| names.iter().any(|name| name.eq_ignore_ascii_case("ALL")))
    }

    /// Whether the Pod has a volume that a driver or an administrator provides: it may be a folder of the node.
    pub fn has_provided_volume(&self) -> bool {
        self.pod.volumes.iter().any(|volume| volume.provided)
    }
}
