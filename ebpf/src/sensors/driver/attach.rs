//! Attaches the hooks that this kernel has. One that is missing, or that these rights do not allow, becomes the state of its sensor
//! and affects no other sensor.

use aya::programs::{BtfTracePoint, ProgramError, TracePoint};
use aya::{Btf, Ebpf};
use holdfast_model::CoverageState;

use crate::sensors::{At, Hook, Sensor, SensorState};
use crate::unavailable::{chain, is_permission_denied};

/// Attaches every hook of one sensor.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, sensor: &Sensor) -> SensorState {
    let mut state = SensorState { sensor: sensor.id, state: CoverageState::Seen, reason: String::new() };
    for hook in sensor.hooks {
        match attach_hook(ebpf, btf, hook) {
            Err(error) if hook.needed => {
                state.state =
                    if is_permission_denied(&error) { CoverageState::Forbidden } else { CoverageState::Absent };
                let separator = if state.reason.is_empty() { "" } else { "; " };
                state.reason.push_str(&format!("{separator}{}", hook.reason(&error)));
            }
            _ => {}
        }
    }
    state
}

fn attach_hook(ebpf: &mut Ebpf, btf: &Btf, hook: &Hook) -> Result<(), ProgramError> {
    let program = ebpf.program_mut(hook.program).ok_or(ProgramError::NotLoaded)?;
    match hook.at {
        At::Kernel(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            program.attach()?;
        }
        At::Call(name) => {
            let program: &mut TracePoint = program.try_into()?;
            // One program may serve several calls.
            if program.fd().is_err() {
                program.load()?;
            }
            program.attach("syscalls", &format!("sys_exit_{name}"))?;
        }
    }
    Ok(())
}

impl Hook {
    fn reason(&self, error: &ProgramError) -> String {
        match (&self.at, error) {
            (At::Kernel(tracepoint), ProgramError::Btf(_)) => format!("this kernel has no tracepoint {tracepoint}"),
            (At::Call(call), _) => {
                format!("{call} cannot be observed (that needs tracefs at /sys/kernel/tracing): {}", chain(error))
            }
            (At::Kernel(tracepoint), _) => format!("{tracepoint} cannot be observed: {}", chain(error)),
        }
    }
}
