//! The view on the real kernel, compared with /proc and with processes whose privileges are known.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::iterator::Iterator;
use super::record::Task;
use super::*;
use crate::cell::{self, Cell, available};

/// Prints a letter and stays until its input ends.
const STAY: &str = "echo x; read line";

fn by_process(tasks: Vec<Task>) -> BTreeMap<(u32, u32), Task> {
    let whole = tasks.into_iter().filter(|task| task.pid == task.tid);
    // /proc tells ticks: what started at the same time and has the same number is the same process.
    whole.map(|task| ((task.pid, u32::try_from(task.started / 10_000_000).unwrap()), task)).collect()
}

#[test]
fn iterator_and_proc_agree_about_every_process_that_both_have_seen() -> Result<()> {
    let Some(mut iterator) = available(Iterator::load()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    cell.stay(&["setpriv", "--no-new-privs", "--bounding-set", "-all", "sh", "-c", STAY])?;
    cell.stay(&["unshare", "-nmuiC", "sh", "-c", STAY])?;
    let before = by_process(proc::tasks()?);
    let seen = by_process(iterator.tasks()?);
    let after = by_process(proc::tasks()?);
    let mut compared = 0;
    for (process, by_proc) in &before {
        // Only processes that did not change between the two readings of /proc, and whose namespaces can be read here.
        if after.get(process) != Some(by_proc) || by_proc.privileges.namespaces.mnt == 0 {
            continue;
        }
        let task = seen.get(process).with_context(|| format!("{by_proc:?} is not in the iterator"))?;
        let task = Task { started: by_proc.started, cgroup: 0, ..task.clone() };
        if by_proc.kernel_thread {
            assert_eq!((task.pid, task.privileges.effective), (by_proc.pid, by_proc.privileges.effective));
        } else {
            assert_eq!(&task, by_proc);
        }
        compared += 1;
    }
    assert!(compared > 10, "only {compared} processes were still");
    Ok(())
}

#[test]
fn privileges_are_read_as_they_were_given() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let plain = cell.stay(&["sh", "-c", STAY])?;
    let bound = cell.stay(&[
        "setpriv",
        "--reuid",
        "1234",
        "--regid",
        "4321",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps",
        "-all",
        "--bounding-set",
        "-all,+chown",
        "sh",
        "-c",
        STAY,
    ])?;
    let apart = cell.stay(&["unshare", "-nmuiC", "sh", "-c", STAY])?;
    let read = view.read()?;
    let container = only(&read, &cell)?;
    let privileges =
        |pid: u32| container.process_groups.iter().find(|group| group.pid == pid).map(|group| &group.privileges);

    let plain = privileges(plain).context("the plain one")?;
    assert_eq!((plain.uid, plain.no_new_privs, plain.namespaces), (0, false, read.host));
    let bound = privileges(bound).context("the bound one")?;
    assert_eq!((bound.uid, bound.gid, bound.no_new_privs), (1234, 4321, true));
    assert_eq!((bound.effective, bound.permitted, bound.bounding), (0, 0, 1));
    let apart = privileges(apart).context("the one apart")?;
    let (own, host) = (apart.namespaces, read.host);
    assert_eq!((own.user, own.pid), (host.user, host.pid));
    for (own, host) in
        [(own.net, host.net), (own.mnt, host.mnt), (own.ipc, host.ipc), (own.uts, host.uts), (own.cgroup, host.cgroup)]
    {
        assert!(own != host && own != 0);
    }
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_process_that_can_become_root_again_is_root_in_both_views() -> Result<()> {
    let Some(mut iterator) = available(Iterator::load()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    // Real, effective, saved: setresuid.
    let as_user = |users: &str| format!("syscall(117, {users}) == 0 or die $!; $| = 1; print 'x'; <STDIN>");
    let mut stay = |users: &str| cell.stay(&["perl", "-e", &as_user(users)]);
    let processes = [
        (stay("0, 1000, 1000")?, 0),
        (stay("1000, 1000, 0")?, 0),
        (stay("1000, 0, 1000")?, 0),
        (stay("1000, 1000, 1000")?, 1000),
    ];
    for (method, tasks) in [("iterator", iterator.tasks()?), ("proc", proc::tasks()?)] {
        for (pid, user) in processes {
            let task = tasks.iter().find(|task| task.pid == pid && task.tid == pid).context("a process")?;
            assert_eq!(task.privileges.uid, user, "{method}: {pid} of {processes:?}");
        }
    }
    Ok(())
}

#[test]
fn equal_workers_are_counted_and_no_other_processes_among_them() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let first = cell.stay(&["sh", "-c", STAY])?;
    for _ in 0..4 {
        cell.stay(&["sh", "-c", STAY])?;
    }
    let read = view.read()?;
    let container = only(&read, &cell)?;
    let group = &container.process_groups[0];
    assert_eq!((container.process_groups.len(), group.processes, group.pid, group.name.as_str()), (1, 5, first, "sh"));
    assert!(read.process_count > 5 && read.unattributed == 0);
    Ok(())
}

#[test]
fn a_thread_under_a_filter_of_its_own_is_in_another_group_than_its_process() -> Result<()> {
    let Some(mut iterator) = available(Iterator::load()) else { return Ok(()) };
    let (mut ready, mut end) = (std::io::pipe()?, std::io::pipe()?);
    let strict = std::thread::spawn(move || {
        rustix::thread::set_secure_computing_mode(rustix::thread::SecureComputingMode::Strict)?;
        ready.1.write_all(b"x")?;
        // Nothing but read, write and exit is allowed here, and the thread's end is more than that.
        end.0.read_exact(&mut [0])?;
        anyhow::Ok(())
    });
    ready.0.read_exact(&mut [0])?;
    let own: Vec<Task> = iterator.tasks()?.into_iter().filter(|task| task.pid == std::process::id()).collect();
    let modes: Vec<_> = own.iter().map(|task| (task.pid == task.tid, task.privileges.seccomp)).collect();
    assert!(modes.contains(&(true, holdfast_model::kernel::Seccomp::Disabled)), "{modes:?}");
    assert!(modes.contains(&(false, holdfast_model::kernel::Seccomp::Strict)), "{modes:?}");
    drop(strict);
    // Its end of the pipe stays open with the thread, which ends with the process.
    std::mem::forget(end.1);
    Ok(())
}

#[test]
fn a_folder_of_the_node_in_a_containers_mount_namespace_is_named_with_its_source() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let script = format!("mount -t tmpfs none /mnt && mkdir /mnt/log && mount -o bind,ro /var/log /mnt/log && {STAY}");
    cell.stay(&["unshare", "-m", "sh", "-c", &script])?;
    let read = view.read()?;
    let mounts = only(&read, &cell)?.host_mounts.clone().context("mounts")?;
    let log = mounts.iter().find(|mount| mount.target == "/mnt/log").context("the mount")?;
    assert_eq!((log.source.as_str(), log.writable), ("/var/log", false));
    assert!(!mounts.iter().any(|mount| mount.target == "/mnt"), "a tmpfs of its own is not the node's");
    Ok(())
}

#[test]
fn a_process_that_escaped_from_its_cgroup_is_still_of_its_pod() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let leave = format!("echo $$ > {}/cgroup.procs && {STAY}", cell::unified()?.display());
    cell.stay(&["unshare", "-n", "sh", "-c", STAY])?;
    let inside = cell.stay(&["unshare", "-m", "--propagation", "unchanged", "sh", "-c", STAY])?;
    let of = format!("--mount=/proc/{inside}/ns/mnt");
    let left = cell.stay(&["nsenter", &of, "sh", "-c", &leave])?;
    let read = view.read()?;
    let escaped = read.pod(&cell.pod).find(|container| container.id.is_empty()).context("what is in no container")?;
    let pids: Vec<u32> = escaped.process_groups.iter().map(|group| group.pid).collect();
    assert_eq!((pids, escaped.processes()), (vec![left], 1));
    Ok(())
}

#[test]
fn mounts_that_only_a_process_in_a_chroot_sees_are_unknown() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let jail = format!(
        "mount -t tmpfs none /mnt && mkdir /mnt/log && mount -o bind,ro /var/log /mnt/log && mkdir /mnt/jail && \
         cp /bin/busybox /mnt/jail && exec chroot /mnt/jail /busybox sh -c '{STAY}'"
    );
    let in_chroot = cell.stay(&["unshare", "-m", "sh", "-c", &jail])?;
    assert_eq!(only(&view.read()?, &cell)?.host_mounts, None);
    let of = format!("--mount=/proc/{in_chroot}/ns/mnt");
    cell.stay(&["nsenter", &of, "sh", "-c", STAY])?;
    let mounts = only(&view.read()?, &cell)?.host_mounts.clone().context("mounts")?;
    assert!(mounts.iter().any(|mount| mount.source == "/var/log"), "{mounts:?}");
    Ok(())
}

#[test]
fn mounts_of_a_thread_with_a_mount_namespace_of_its_own_are_read_too() -> Result<()> {
    const TEST: &str = "view::tests::mounts_of_a_thread_with_a_mount_namespace_of_its_own_are_read_too";
    if std::env::var_os("HOLDFAST_THREAD").is_some() {
        return hold_a_thread_with_a_mount_namespace();
    }
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let mut cell = Cell::new()?;
    let program = std::env::current_exe()?.display().to_string();
    cell.stay(&["env", "HOLDFAST_THREAD=1", &program, "--exact", TEST, "--nocapture"])?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let read = view.read()?;
        let container = only(&read, &cell)?;
        // The thread changes its user last: a group with that user is a thread that is ready.
        if let Some(thread) = container.process_groups.iter().find(|group| group.privileges.uid == 1234) {
            assert!(![0, read.host.mnt].contains(&thread.privileges.namespaces.mnt), "{container:?}");
            assert_eq!(thread.processes, 1);
            assert!(container.host_mounts.is_some(), "{container:?}");
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{container:?}");
    }
}

/// A thread in a mount namespace of its own, as another user, until the input ends.
#[allow(deprecated, reason = "unsafe is what `unshare` may do to open files, which stay shared here")]
fn hold_a_thread_with_a_mount_namespace() -> Result<()> {
    let thread = std::thread::spawn(|| {
        use rustix::thread::{UnshareFlags, set_thread_res_uid, unshare};
        let user = rustix::process::Uid::from_raw(1234);
        unshare(UnshareFlags::NEWNS)?;
        set_thread_res_uid(user, user, user)?;
        std::io::stdin().read_to_string(&mut String::new())?;
        anyhow::Ok(())
    });
    thread.join().map_err(|_| anyhow::anyhow!("the thread"))?
}

#[test]
fn a_very_deeply_nested_cgroup_is_still_its_pods() -> Result<()> {
    let Some(mut view) = available(KernelView::open()) else { return Ok(()) };
    let cell = Cell::new()?;
    let names = vec!["deeper"; 300].join("/");
    let script =
        format!("root=$(dirname \"$1\"); mkdir -p $root/{names} && echo $$ > $root/{names}/cgroup.procs && {STAY}");
    let mut nested = Nested { cell, names };
    let procs = nested.cell.folder().join("cgroup.procs").display().to_string();
    nested.cell.stay(&["sh", "-c", &script, "sh", &procs])?;
    let read = view.read()?;
    assert_eq!(only(&read, &nested.cell)?.processes(), 1);
    Ok(())
}

struct Nested {
    cell: Cell,
    names: String,
}

impl Drop for Nested {
    fn drop(&mut self) {
        self.cell.end();
        let deepest = self.cell.folder().join(&self.names);
        deepest.ancestors().take(300).for_each(cell::remove);
    }
}

fn only<'a>(view: &'a View, cell: &Cell) -> Result<&'a RunningContainer> {
    let mut of_pod = view.containers.iter().filter(|container| container.pod == cell.pod);
    let container = of_pod.next().context("the container is not in the view")?;
    assert_eq!((container.id.as_str(), of_pod.next()), (cell.id.as_str(), None));
    Ok(container)
}
