//! Processes that traced another one: ptrace, and reads and writes of another process's memory.

use holdfast_model::SignalKind;

use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};

pub(super) const SENSOR: Sensor = Sensor {
    id: "trace",
    hooks: &[
        Hook::needed("trace_ptrace", At::Call("ptrace")),
        Hook::needed("trace_readv", At::Call("process_vm_readv")),
        Hook::needed("trace_writev", At::Call("process_vm_writev")),
    ],
    behaviors: &[Behavior { name: "PTRACED", kinds: &[SignalKind::Ptrace] }],
    contributes_to: &[],
    decode,
};

fn decode(event: &Event<'_>, _: &Context<'_>) -> Vec<Signal> {
    let object = match event.subject {
        0 => "PTRACE_TRACEME",
        16 => "PTRACE_ATTACH",
        0x4206 => "PTRACE_SEIZE",
        0x10000 => "process_vm_readv",
        _ => "process_vm_writev",
    };
    vec![Signal { object: object.to_owned(), ..Signal::of(SignalKind::Ptrace) }]
}
