//! The BPF task iterator: loads `programs/view.bpf.c`, and runs it once per reading.

use std::fs::File;
use std::io::Read;

use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};

use super::record::{Cgroups, FIXED_BYTES, Task};
use crate::Unavailable;
use crate::unavailable::chain;

const PROGRAM: &str = "view";
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/view.o"));
/// Enough for a million processes; bounds the memory.
const MAX_BYTES: u64 = 512 << 20;

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
    pub(crate) fn load() -> Result<Self, Unavailable> {
        let btf = Btf::from_sys_fs().map_err(|error| Unavailable::NoBtf(chain(&error)))?;
        let mut ebpf =
            EbpfLoader::new().btf(Some(&btf)).load(OBJECT).map_err(|error| Unavailable::not_loaded(PROGRAM, &error))?;
        program(&mut ebpf)?.load("task", &btf).map_err(not_loaded)?;
        Ok(Self { ebpf })
    }

    pub(crate) fn tasks(&mut self) -> Result<Vec<Task>, Unavailable> {
        let mut bytes = Vec::new();
        self.start()?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut tasks = Vec::with_capacity(rest.len() / FIXED_BYTES);
        let mut cgroups = Cgroups::default();
        while !rest.is_empty() {
            tasks.push(
                Task::take(&mut rest, &mut cgroups).ok_or(Unavailable::InvalidData("a record of the task iterator"))?,
            );
        }
        Ok(tasks)
    }

    fn start(&mut self) -> Result<File, Unavailable> {
        let program = program(&mut self.ebpf)?;
        let link = program.attach().and_then(|link| program.take_link(link));
        let link = link.map_err(|error| Unavailable::not_attached(PROGRAM, &error))?;
        link.into_file().map_err(|error| Unavailable::ReadFailed(std::io::Error::other(error)))
    }
}

fn not_loaded(error: ProgramError) -> Unavailable {
    match &error {
        ProgramError::Btf(_) => Unavailable::NoIterator(chain(&error)),
        _ => Unavailable::not_attached(PROGRAM, &error),
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Iter, Unavailable> {
    let program = ebpf.program_mut(PROGRAM).ok_or(Unavailable::InvalidData("the object without its program"))?;
    program.try_into().map_err(|error| Unavailable::not_attached(PROGRAM, &error))
}
