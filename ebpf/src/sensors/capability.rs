//! Capabilities that were used in the node's own user namespace. SYS_ADMIN is not reported: see `sensor/capability.c`.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

/// `linux/capability.h`, by number.
#[rustfmt::skip]
const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

pub(super) const SENSOR: Sensor = Sensor {
    id: "capability",
    hooks: &[Hook::needed("capability_used", At::Kernel("cap_capable"))],
    behaviors: &[Behavior { name: "CAPABILITY", kinds: &[SignalKind::CapabilityUsed] }],
    contributes_to: &[],
    decode,
};

/// The number of a capability by its name.
pub(crate) fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let name = usize::try_from(event.subject).ok().and_then(|number| NAMES.get(number));
    let object = name.map_or_else(|| format!("capability {}", event.subject), |name| (*name).to_owned());
    vec![Signal { object, ..Signal::of(SignalKind::CapabilityUsed) }]
}
