//! The BPF task iterator: loads `programs/view.bpf.c`, and runs it once a reading.

use std::fs::File;
use std::io::Read;

use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use super::record::{Cgroups, FIXED_BYTES, Task};
use crate::Blind;
use crate::blind::chain;

const PROGRAM: &str = "view";
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/view.o"));
/// A million processes, and an end to what is kept in memory.
const MOST_BYTES: u64 = 512 << 20;

/// The loaded program.
pub(crate) struct Iterator {
    ebpf: Ebpf,
}

impl std::fmt::Debug for Iterator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Iterator")
    }
}

impl Iterator {
    pub(crate) fn load() -> Result<Self, Blind> {
        let btf = Btf::from_sys_fs().map_err(|error| Blind::NoTypes(chain(&error)))?;
        let mut ebpf = EbpfLoader::new().btf(Some(&btf)).load(OBJECT).map_err(|error| Blind::unloaded(&error))?;
        program(&mut ebpf)?.load("task", &btf).map_err(unloaded)?;
        Ok(Self { ebpf })
    }

    pub(crate) fn tasks(&mut self) -> Result<Vec<Task>, Blind> {
        let mut bytes = Vec::new();
        self.start()?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut tasks = Vec::with_capacity(rest.len() / FIXED_BYTES);
        let mut cgroups = Cgroups::default();
        while !rest.is_empty() {
            tasks.push(Task::take(&mut rest, &mut cgroups).ok_or(Blind::Garbled("a record of the task iterator"))?);
        }
        Ok(tasks)
    }

    fn start(&mut self) -> Result<File, Blind> {
        let program = program(&mut self.ebpf)?;
        let link = program.attach().and_then(|link| program.take_link(link));
        let link = link.map_err(|error| Blind::unattached(PROGRAM, &error))?;
        link.into_file().map_err(|error| Blind::Broken(std::io::Error::other(error)))
    }
}

fn unloaded(error: ProgramError) -> Blind {
    match &error {
        ProgramError::Btf(_) => Blind::NoIterator(chain(&error)),
        _ => Blind::unattached(PROGRAM, &error),
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Iter, Blind> {
    let program = ebpf.program_mut(PROGRAM).ok_or(Blind::Garbled("the object without its program"))?;
    program.try_into().map_err(|error| Blind::unattached(PROGRAM, &error))
}
