//! What a container was asked to be, as far as the kernel can be compared with it.

use super::capability;
use crate::facts::pod::VolumeMount;
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

    /// Whether this place is that of a volume which a driver or an administrator provides, or below it: such a volume may be a
    /// folder of the node.
    pub fn is_provided(&self, target: &str) -> bool {
        let provided = |name: &str| self.pod.volumes.iter().any(|volume| volume.provided && &*volume.name == name);
        let holds = |mount: &VolumeMount| {
            let place = mount.mount_path.trim_end_matches('/');
            let below = target.strip_prefix(place).filter(|_| !place.is_empty());
            below.is_some_and(|below| below.is_empty() || below.starts_with('/')) && provided(&mount.name)
        };
        self.container.container.volume_mounts.iter().any(holds)
    }
}
