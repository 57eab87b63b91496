//! Loads the object of all sensors and writes the data that its programs need before the first of them runs.

use aya::maps::{Array, HashMap as KernelMap, Map, MapError};
use aya::{Btf, Ebpf, EbpfLoader};
use holdfast_model::kernel::Namespaces;

use super::read_failed;
use crate::sensors::{file, numbered};
use crate::view::mounts::Mount;
use crate::view::record::Task;
use crate::{Owner, Unavailable};

#[cfg(not(test))]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensors.o"));
#[cfg(test)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensors_test.o"));
/// File systems of disks: what a container may see of the node.
const DISK_FILE_SYSTEMS: &[&str] =
    &["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "erofs", "squashfs", "vfat"];

/// The object, with no program attached yet.
pub(super) fn load(btf: &Btf, host: &Namespaces, mounts: &[Mount]) -> Result<Ebpf, Unavailable> {
    let (lengths, own) = (file::name_lengths(), std::process::id());
    let behaviors: Vec<(&str, u32)> = numbered().map(|(number, _, behavior)| (behavior.name, number)).collect();
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf)).override_global("name_lengths", &lengths, true).override_global("probe_process", &own, true);
    for (name, number) in &behaviors {
        loader.override_global(name, number, true);
    }
    let mut ebpf = loader.load(OBJECT).map_err(|error| Unavailable::not_loaded("sensors", &error))?;
    prepare(&mut ebpf, host, mounts).map_err(|error| read_failed(&error))?;
    Ok(ebpf)
}

/// Takes a map out of the object.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Unavailable> {
    ebpf.take_map(name).ok_or(Unavailable::InvalidData("the object without its maps"))
}

/// Writes the cgroups of the containers that exist already: for each of their mount namespaces, that of its first process.
pub(super) fn write_mnt_cgroups(ebpf: &mut Ebpf, tasks: &[Task], host: &Namespaces) -> Result<(), MapError> {
    let mut cgroups: KernelMap<_, u32, u64> = KernelMap::try_from(map(ebpf, "mnt_cgroups")?)?;
    for task in tasks.iter().rev().filter(|task| matches!(task.owner, Some(Owner::Pod { .. }))) {
        let mnt = task.privileges.namespaces.mnt;
        if mnt != host.mnt {
            cgroups.insert(mnt, task.cgroup, 0)?;
        }
    }
    Ok(())
}

fn prepare(ebpf: &mut Ebpf, host: &Namespaces, mounts: &[Mount]) -> Result<(), MapError> {
    let mut namespaces: Array<_, u32> = Array::try_from(map(ebpf, "host_ns")?)?;
    for (at, inode) in (0..).zip(host.each()) {
        namespaces.set(at, inode, 0)?;
    }
    let mut names: KernelMap<_, [u8; 32], u32> = KernelMap::try_from(map(ebpf, "file_names")?)?;
    for name in file::names() {
        let mut key = [0; 32];
        key[..name.len()].copy_from_slice(name.as_bytes());
        names.insert(key, 1, 0)?;
    }
    let mut devices: KernelMap<_, u32, u32> = KernelMap::try_from(map(ebpf, "node_devices")?)?;
    for mount in mounts.iter().filter(|mount| DISK_FILE_SYSTEMS.contains(&mount.file_system.as_str())).take(256) {
        if let Some(device) = device(&mount.device) {
            devices.insert(device, 1, 0)?;
        }
    }
    Ok(())
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Map, MapError> {
    ebpf.map_mut(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
}

/// `254:1` as the kernel encodes it.
fn device(text: &str) -> Option<u32> {
    let (major, minor) = text.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_numbered_as_the_kernel_does() {
        assert_eq!(device("254:1"), Some(254 << 20 | 1));
        assert_eq!(device("4096:1"), None);
        assert_eq!(device("x"), None);
    }
}
