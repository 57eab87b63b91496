//! Processes that took hold of another one: ptrace, and reads and writes of others' memory.

use holdfast_model::SignalKind;

use super::{Act, At, Event, Hook, Node, Reading, Sensor};

pub(super) const SENSOR: Sensor = Sensor {
    id: "trace",
    hooks: &[
        Hook::needed("trace_ptrace", At::Call("ptrace")),
        Hook::needed("trace_readv", At::Call("process_vm_readv")),
        Hook::needed("trace_writev", At::Call("process_vm_writev")),
    ],
    behaviors: &[Act::Ptrace],
    read,
};

fn read(event: &Event<'_>, _: &Node<'_>) -> Vec<Reading> {
    let object = match event.subject {
        0 => "PTRACE_TRACEME",
        16 => "PTRACE_ATTACH",
        0x4206 => "PTRACE_SEIZE",
        0x10000 => "process_vm_readv",
        _ => "process_vm_writev",
    };
    vec![Reading { object: object.to_owned(), ..Reading::of(SignalKind::Ptrace) }]
}
