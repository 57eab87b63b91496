//! Successful bpf system calls of containers.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

/// `enum bpf_cmd` of `linux/bpf.h`; the others are reported by number.
const COMMANDS: &[(u64, &str)] = &[
    (0, "BPF_MAP_CREATE"),
    (1, "BPF_MAP_LOOKUP_ELEM"),
    (2, "BPF_MAP_UPDATE_ELEM"),
    (5, "BPF_PROG_LOAD"),
    (6, "BPF_OBJ_PIN"),
    (7, "BPF_OBJ_GET"),
    (8, "BPF_PROG_ATTACH"),
    (10, "BPF_PROG_TEST_RUN"),
    (17, "BPF_RAW_TRACEPOINT_OPEN"),
    (18, "BPF_BTF_LOAD"),
    (28, "BPF_LINK_CREATE"),
];

pub(super) const SENSOR: Sensor = Sensor {
    id: "bpf",
    hooks: &[Hook::needed("bpf_call", At::Call("bpf"))],
    behaviors: &[Behavior { name: "BPF_CALLED", kinds: &[SignalKind::Bpf] }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let name = COMMANDS.iter().find(|(command, _)| *command == event.subject).map(|(_, name)| (*name).to_owned());
    let object = name.unwrap_or_else(|| format!("command {}", event.subject));
    vec![Signal { object, ..Signal::of(SignalKind::Bpf) }]
}
