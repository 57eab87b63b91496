//! Every sensor on the real kernel: a real process in a cgroup shaped like a container's shows the behavior, and a negative case does
//! not.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_ebpf::{Owner, Sensors};
use holdfast_model::{CoverageState, RuntimeObservation, SignalKind};

#[allow(dead_code, reason = "shared with the view's tests")]
#[path = "cell/mod.rs"]
mod cell;
use cell::{Cell, available, remove};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sensors and a cell to observe, in a process that has tracefs; none if the test runs in another process, or cannot run.
fn open(test: &str) -> Result<Option<(Sensors, Cell)>> {
    if !Path::new("/sys/kernel/tracing/events/syscalls").exists() && std::env::var_os("HOLDFAST_TRACEFS").is_none() {
        return again_with_tracefs(test).map(|()| None);
    }
    available(Sensors::open()).map(|sensors| Cell::new().map(|cell| (sensors, cell))).transpose()
}

/// Runs one test of this program in a mount namespace of its own, where tracefs is mounted.
fn again_with_tracefs(test: &str) -> Result<()> {
    let script = "mount -t tracefs tracefs /sys/kernel/tracing; exec \"$0\" --exact \"$1\" --nocapture";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(test)
        .env("HOLDFAST_TRACEFS", "mounted")
        .status()?;
    ensure!(status.success(), "{test} failed in its own mount namespace");
    Ok(())
}

/// Everything that was observed of the cell, once the last expected observation has come.
fn until(
    sensors: &mut Sensors,
    cell: &Cell,
    last: impl Fn(&RuntimeObservation) -> bool,
) -> Result<Vec<RuntimeObservation>> {
    let deadline = Instant::now() + PATIENCE;
    let mut all: Vec<RuntimeObservation> = Vec::new();
    while !all.iter().any(&last) {
        ensure!(Instant::now() < deadline, "not seen; only {all:#?}, sensors {:?}", sensors.states());
        sensors.wait(Duration::from_millis(200))?;
        all.extend(sensors.poll().into_iter().filter(|observation| observation.pod == cell.pod));
    }
    for observation in &all {
        ensure!(observation.container == cell.id && observation.cgroup != 0, "of another container: {observation:?}");
        ensure!(
            observation.count == 1 && observation.first == observation.last && observation.first > 1_700_000_000_000
        );
    }
    Ok(all)
}

fn objects(observations: &[RuntimeObservation], kind: SignalKind) -> Vec<&str> {
    observations
        .iter()
        .filter(|observation| observation.kind == kind)
        .map(|observation| observation.object.as_str())
        .collect()
}

fn of_program<'a>(observations: &'a [RuntimeObservation], name: &str) -> Vec<&'a RuntimeObservation> {
    observations.iter().filter(|observation| observation.binary.ends_with(name)).collect()
}

fn kinds(observations: &[&RuntimeObservation]) -> Vec<SignalKind> {
    observations.iter().map(|observation| observation.kind).collect()
}

#[test]
fn a_program_is_named_with_its_flags_and_a_shell_is_a_shell() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_program_is_named_with_its_flags_and_a_shell_is_a_shell")? else {
        return Ok(());
    };
    cell.run(&["ls", "--color=never", "-l", "/"])?;
    cell.run(&["bash", "-c", "exit 0", "hUnt3r2"])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Shell)?;
    let ls = of_program(&seen, "/bin/ls");
    assert_eq!(kinds(&ls), [SignalKind::ProcessStart, SignalKind::PrivilegedStart]);
    assert_eq!((ls[0].name.as_str(), ls[0].arguments.join(" ")), ("ls", "--color=*** -l ***".to_owned()));
    assert!(ls[0].pid > 1 && ls[0].started > 0);
    let bash = of_program(&seen, "/bin/bash");
    assert!(kinds(&bash).contains(&SignalKind::Shell));
    assert!(!format!("{seen:?}").contains("hUnt3r2"));
    Ok(())
}

#[test]
fn a_start_without_rule_over_the_node_is_not_privileged() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_start_without_rule_over_the_node_is_not_privileged")? else {
        return Ok(());
    };
    cell.run(&["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "true"])?;
    let seen = until(&mut sensors, &cell, |s| s.binary.ends_with("/true"))?;
    assert_eq!(kinds(&of_program(&seen, "/true")), [SignalKind::ProcessStart]);
    assert!(kinds(&of_program(&seen, "/setpriv")).contains(&SignalKind::PrivilegedStart));
    Ok(())
}

/// A program of 32 bits that only ends: `exit(0)` by int 0x80.
#[cfg(target_arch = "x86_64")]
const NARROW: [u8; 91] = *b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0\x54\x80\x04\x08\x34\0\0\0\
    \0\0\0\0\0\0\0\0\x34\0\x20\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x80\x04\x08\0\x80\x04\x08\x5b\0\0\0\
    \x5b\0\0\0\x05\0\0\0\0\x10\0\0\x31\xc0\x40\x31\xdb\xcd\x80";

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_is_reported_as_one_whose_system_calls_are_not_observed() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_32_bit_program_is_reported_as_one_whose_system_calls_are_not_observed")?
    else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let narrow = folder.path().join("narrow").display().to_string();
    std::fs::write(&narrow, NARROW)?;
    cell.run(&["chmod", "+x", &narrow])?;
    if cell.run(&[&narrow]).is_err() {
        println!("skipped: this kernel starts no programs of 32 bits");
        return Ok(());
    }
    let seen = until(&mut sensors, &cell, |s| s.binary.ends_with("/narrow"))?;
    assert!(of_program(&seen, "/narrow").iter().all(|s| s.object.starts_with("32-bit program")), "{seen:?}");
    assert!(of_program(&seen, "/chmod").iter().all(|s| s.object.is_empty()), "{seen:?}");
    Ok(())
}

/// Makes the overlay the root.
const ENTER: &str = "cd m && pivot_root . mnt && exec";

/// A root like a container's: an overlay over this machine's own, in a mount namespace that ends with the command.
fn in_container(cell: &Cell, inside: &str) -> Result<()> {
    let script = format!(
        "mount -t tmpfs none /mnt && cd /mnt && mkdir u w m && \
         mount -t overlay -o lowerdir=/,upperdir=u,workdir=w none m && {inside}"
    );
    cell.run(&["unshare", "-m", "bash", "-ec", &script])
}

#[test]
fn a_program_that_the_image_did_not_bring_is_foreign() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_program_that_the_image_did_not_bring_is_foreign")? else { return Ok(()) };
    in_container(&cell, &format!("cp /bin/true m/brought && {ENTER} sh -ec '/bin/true; /brought'"))?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::ForeignBinary)?;
    assert_eq!(foreign(&seen), ["/brought"]);
    assert!(!kinds(&of_program(&seen, "/usr/bin/true")).is_empty());
    Ok(())
}

fn foreign(observations: &[RuntimeObservation]) -> Vec<&str> {
    let of = observations.iter().filter(|s| s.kind == SignalKind::ForeignBinary);
    of.map(|s| s.binary.as_str()).collect()
}

#[test]
fn a_chroot_hides_neither_a_foreign_program_nor_a_file_of_the_node_nor_a_write_under_etc() -> Result<()> {
    let Some((mut sensors, cell)) =
        open("a_chroot_hides_neither_a_foreign_program_nor_a_file_of_the_node_nor_a_write_under_etc")?
    else {
        return Ok(());
    };
    // Not /tmp: that may be no disk.
    let of_node = tempfile::tempdir_in("/var/lib")?;
    std::fs::write(of_node.path().join("file"), "x")?;
    // A jail on a tmpfs for the program, one on the node's own file system for the file, and a second name for /etc.
    let jails = format!(
        "mkdir m/jail m/given && mount -t tmpfs none m/jail && cp /bin/busybox m/jail && mkdir m/jail/etc && \
         cp /bin/busybox {given} && mount --bind {given} m/given && mount --bind m/etc m/jail/etc && \
         {ENTER} sh -ec 'chroot /jail /busybox sh -c \"echo > /etc/written\"; chroot /given /busybox cat /file'",
        given = of_node.path().display()
    );
    in_container(&cell, &jails)?;
    let seen = until(&mut sensors, &cell, |s| s.path.ends_with("/file"))?;
    assert!(foreign(&seen).contains(&"/jail/busybox"), "{:?}", foreign(&seen));
    assert!(foreign(&seen).contains(&"/given/busybox"), "{:?}", foreign(&seen));
    let paths = |kind| seen.iter().filter(move |s| s.kind == kind).map(|s| s.path.as_str()).collect::<Vec<_>>();
    assert_eq!(paths(SignalKind::EtcWrite), ["/jail/etc/written"]);
    let file = of_node.path().join("file").display().to_string();
    assert_eq!(paths(SignalKind::SensitiveOpen), [file]);
    Ok(())
}

#[test]
fn leaving_the_containers_cgroup_is_reported_and_going_deeper_is_not() -> Result<()> {
    let Some((sensors, mut cell)) = open("leaving_the_containers_cgroup_is_reported_and_going_deeper_is_not")? else {
        return Ok(());
    };
    drop(sensors);
    // One container that was there before the sensors, and one that comes after them.
    let leave = format!("echo x; read line; echo $$ > {}/cgroup.procs; read line", cell::unified()?.display());
    cell.stay(&["unshare", "-m", "sh", "-c", &leave])?;
    let mut sensors = Sensors::open()?;
    let other = Cell::new()?;
    let deeper = other.folder().join("deeper");
    let script = format!(
        "mkdir {deeper}; echo $$ > {deeper}/cgroup.procs; ls; echo $$ > {}/cgroup.procs",
        cell::unified()?.display(),
        deeper = deeper.display()
    );
    other.run(&["unshare", "-m", "sh", "-c", &script])?;
    remove(&deeper);
    let left = |s: &RuntimeObservation| s.kind == SignalKind::NamespaceEntry && s.object == "left its cgroup";
    let seen = until(&mut sensors, &other, left)?;
    let paths: Vec<_> = seen.iter().filter(|s| left(s)).map(|s| (s.name.as_str(), s.path.as_str())).collect();
    assert_eq!(paths, [("sh", "/")]);
    cell.say("go\n")?;
    until(&mut sensors, &cell, left)?;
    Ok(())
}

#[test]
fn a_runtime_that_starts_itself_anew_on_its_way_in_is_not_the_container() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_runtime_that_starts_itself_anew_on_its_way_in_is_not_the_container")?
    else {
        return Ok(());
    };
    // Put inside by another, as runtimes do it; starts another program among the mounts of its starter, and only then leaves them.
    let runtime = "sh -c 'read line; exec env unshare -m --propagation private sh -c \"mount -t tmpfs none $1\"' < \"$0\" & \
                   echo $! > \"$2\"/cgroup.procs; echo go > \"$0\"; wait $!";
    let folder = tempfile::tempdir()?;
    let pipe = folder.path().join("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    // A node that is itself a container works in mounts that aren't the machine's.
    for (place, outside) in [("/mnt", &["sh"][..]), ("/media", &["unshare", "-m", "sh"])] {
        let runtime = runtime.replace("$1", place);
        let mut command = Command::new(outside[0]);
        command.args(&outside[1..]).args(["-c", &runtime]).arg(&pipe).arg("").arg(cell.folder());
        ensure!(command.status()?.success());
        let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Mount && s.path == place)?;
        assert_eq!(objects(&seen, SignalKind::NamespaceEntry), [""; 0], "what made its namespaces was the runtime");
        let started = seen.iter().filter(|s| s.kind == SignalKind::ProcessStart);
        let early: Vec<_> = started.filter(|s| s.binary.ends_with("/env") || s.binary.ends_with("/unshare")).collect();
        assert!(early.is_empty(), "{early:?}");
    }
    Ok(())
}

#[test]
fn namespaces_entered_and_made_are_distinguished() -> Result<()> {
    let Some((mut sensors, cell)) = open("namespaces_entered_and_made_are_distinguished")? else { return Ok(()) };
    cell.run(&["true"])?;
    cell.run(&["unshare", "-n", "true"])?;
    cell.run(&["nsenter", "-t", &std::process::id().to_string(), "-n", "true"])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::NamespaceEntry && s.object.starts_with("setns"))?;
    let objects = objects(&seen, SignalKind::NamespaceEntry);
    assert_eq!((objects.len(), objects[0]), (2, "unshare net"), "{objects:?}");
    assert!(objects[1].contains("now in the node's user, pid, net"), "{objects:?}");
    Ok(())
}

#[test]
fn a_mount_is_named_with_its_target() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_mount_is_named_with_its_target")? else { return Ok(()) };
    cell.attempt(&["mount", "-t", "tmpfs", "none", "/does/not/exist"])?;
    cell.run(&[
        "unshare",
        "-m",
        "--propagation",
        "unchanged",
        "sh",
        "-c",
        "mount --make-rprivate / && mount -t tmpfs none /mnt",
    ])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Mount && s.path == "/mnt")?;
    let paths: Vec<_> = seen.iter().filter(|s| s.kind == SignalKind::Mount).map(|s| s.path.as_str()).collect();
    assert!(!paths.contains(&"/does/not/exist"), "{paths:?}");
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tracing_another_process_and_bpf_are_reported_by_request() -> Result<()> {
    let Some((mut sensors, cell)) = open("tracing_another_process_and_bpf_are_reported_by_request")? else {
        return Ok(());
    };
    // ptrace with no such request; bpf with no such command.
    cell.run(&["perl", "-e", "exit(syscall(101, 9999, 0, 0, 0) == 0)"])?;
    cell.run(&["perl", "-e", "my $none = \"\\0\" x 16; exit(syscall(321, 9999, $none, 16) >= 0)"])?;
    cell.run(&["perl", "-e", "exit(syscall(101, 0, 0, 0, 0) != 0)"])?;
    cell.run(&["perl", "-e", "my $map = pack('L4', 2, 4, 4, 1); exit(syscall(321, 0, $map, 16) < 0)"])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Bpf)?;
    assert_eq!(objects(&seen, SignalKind::Ptrace), ["PTRACE_TRACEME"]);
    assert_eq!(objects(&seen, SignalKind::Bpf), ["BPF_MAP_CREATE"]);
    Ok(())
}

#[test]
fn a_capability_that_let_somebody_pass_is_named() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_capability_that_let_somebody_pass_is_named")? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file").display().to_string();
    cell.run(&["touch", &file])?;
    let chown = |s: &RuntimeObservation| s.kind == SignalKind::CapabilityUsed && s.object == "CHOWN";
    cell.run(&["ls"])?;
    let before = until(&mut sensors, &cell, |s| s.binary.ends_with("/ls"))?;
    assert!(!before.iter().any(chown), "{before:?}");
    cell.run(&["chown", "1234", &file])?;
    let seen = until(&mut sensors, &cell, chown)?;
    assert!(seen.iter().filter(|s| chown(s)).all(|s| s.binary.ends_with("/chown")));
    Ok(())
}

#[test]
fn files_with_credentials_are_reported_by_class_and_others_not_at_all() -> Result<()> {
    let Some((mut sensors, cell)) = open("files_with_credentials_are_reported_by_class_and_others_not_at_all")? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let within = folder.path().join("run/secrets/kubernetes.io/serviceaccount");
    std::fs::create_dir_all(&within)?;
    let token = within.join("token").display().to_string();
    let other = folder.path().join("token").display().to_string();
    for file in [&token, &other] {
        std::fs::File::create(file)?.write_all(b"hUnt3r2")?;
    }
    cell.run(&["cat", &other, "/etc/hostname"])?;
    cell.run(&["cat", "/etc/shadow", &token])?;
    let seen = until(&mut sensors, &cell, |s| s.object == "service-account-token")?;
    let mut opened =
        seen.iter().filter(|s| s.kind == SignalKind::SensitiveOpen).map(|s| (s.object.as_str(), s.path.as_str()));
    assert_eq!(opened.next(), Some(("shadow", "/etc/shadow")));
    assert_eq!(opened.next(), Some(("service-account-token", token.as_str())));
    assert_eq!(opened.next(), None);
    Ok(())
}

#[test]
fn a_write_under_etc_is_reported_and_a_read_or_a_write_elsewhere_is_not() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_write_under_etc_is_reported_and_a_read_or_a_write_elsewhere_is_not")?
    else {
        return Ok(());
    };
    // A root of its own, so that nothing is left on the machine's.
    in_container(
        &cell,
        &format!(
            "mkdir m/etcd && {ENTER} sh -ec 'mount -t tmpfs none /tmp; mkdir /tmp/etc; echo > /tmp/etc/elsewhere; \
             echo > /etcd/near; cat /etc/hostname; mount -t tmpfs none /etc; echo > /etc/written'"
        ),
    )?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::EtcWrite)?;
    let paths: Vec<_> = seen.iter().filter(|s| s.kind == SignalKind::EtcWrite).map(|s| s.path.as_str()).collect();
    assert_eq!(paths, ["/etc/written"]);
    Ok(())
}

#[test]
fn a_file_of_the_node_is_reported_by_its_path_on_the_node() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_file_of_the_node_is_reported_by_its_path_on_the_node")? else {
        return Ok(());
    };
    // Not /tmp: that may be no disk.
    let folder = tempfile::tempdir_in("/var/lib")?;
    let file = folder.path().join("file");
    std::fs::write(&file, "x")?;
    let given = format!(
        "mkdir m/given && mount --bind {} m/given && {ENTER} cat /etc/hostname /given/file",
        folder.path().display()
    );
    in_container(&cell, &given)?;
    let seen = until(&mut sensors, &cell, |s| s.path.ends_with("/file"))?;
    let reported: Vec<_> = seen
        .iter()
        .filter(|s| s.kind == SignalKind::SensitiveOpen)
        .map(|s| (s.object.as_str(), Path::new(&s.path)))
        .collect();
    assert_eq!(reported, [("host-path", file.as_path())]);
    Ok(())
}

#[test]
fn a_change_of_the_own_root_is_reported_and_a_read_or_a_write_elsewhere_is_not() -> Result<()> {
    let Some((mut sensors, cell)) =
        open("a_change_of_the_own_root_is_reported_and_a_read_or_a_write_elsewhere_is_not")?
    else {
        return Ok(());
    };
    // Beside this program: on the file system of the root, as containers have their own files.
    let beside = std::env::current_exe()?.with_extension("written");
    std::fs::write(&beside, "")?;
    let append = "open(my $to, '>>', $ARGV[0]) or die $!";
    let read = "open(my $from, '<', $ARGV[0]) or die $!";
    let elsewhere = tempfile::NamedTempFile::new_in("/dev/shm")?;
    let of = |path: &Path| path.display().to_string();
    cell.run(&["perl", "-e", append, &of(elsewhere.path())])?;
    cell.run(&["perl", "-e", read, &of(&beside)])?;
    cell.run(&["true"])?;
    let negative = until(&mut sensors, &cell, |s| s.binary.ends_with("/true"))?;
    assert!(!negative.iter().any(|s| s.kind == SignalKind::RootWrite), "{negative:?}");
    cell.run(&["perl", "-e", append, &of(&beside)])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::RootWrite)?;
    assert_eq!(objects(&seen, SignalKind::RootWrite), [""]);
    std::fs::remove_file(&beside)?;
    // Wherever a name is made or marked counts, as it is not looked at where.
    let another = Cell::new()?;
    another.run(&["chmod", "600", &of(elsewhere.path())])?;
    let seen = until(&mut sensors, &another, |s| s.kind == SignalKind::RootWrite)?;
    assert!(seen.iter().any(|s| s.binary.ends_with("/chmod")), "{seen:?}");
    accounted(&sensors)
}

#[test]
fn a_connection_to_a_runtimes_socket_is_reported_and_to_another_is_not() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_connection_to_a_runtimes_socket_is_reported_and_to_another_is_not")? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let script = "use IO::Socket::UNIX; IO::Socket::UNIX->new(Peer => $_) or die $! for @ARGV";
    let paths: Vec<String> =
        ["other.sock", "containerd.sock"].map(|name| folder.path().join(name).display().to_string()).to_vec();
    let _listening: Vec<UnixListener> = paths.iter().map(UnixListener::bind).collect::<std::io::Result<_>>()?;
    cell.run(&["perl", "-e", script, &paths[0], &paths[1]])?;
    let seen = until(&mut sensors, &cell, |s| s.object == "runtime-socket")?;
    let reported: Vec<_> = seen.iter().filter(|s| s.kind == SignalKind::SensitiveOpen).map(|s| &s.path).collect();
    assert_eq!(reported, [&paths[1]]);
    Ok(())
}

#[test]
fn a_connection_names_its_peer_and_a_listening_socket_itself() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_connection_names_its_peer_and_a_listening_socket_itself")? else {
        return Ok(());
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    cell.run(&[
        "perl",
        "-e",
        "use Socket; socket(my $s, PF_INET, SOCK_STREAM, 0); bind($s, sockaddr_in(0, INADDR_LOOPBACK))",
    ])?;
    cell.run(&["bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")])?;
    let listen = "use IO::Socket::INET; IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die $!";
    cell.run(&["perl", "-e", listen])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Listen)?;
    let address = |kind| seen.iter().filter(move |s| s.kind == kind).map(|s| s.address).collect::<Vec<_>>();
    assert_eq!(address(SignalKind::Connect), [Some(listener.local_addr()?)]);
    let own = address(SignalKind::Listen);
    assert!(own.len() == 1 && own[0].is_some_and(|own| own.ip().is_loopback() && own.port() > 0), "{own:?}");
    Ok(())
}

#[test]
fn a_datagram_names_its_peer_and_a_port_of_ones_own_choice_listens() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_datagram_names_its_peer_and_a_port_of_ones_own_choice_listens")? else {
        return Ok(());
    };
    let quiet =
        "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); bind($s, sockaddr_in(0, INADDR_LOOPBACK)) or die $!";
    cell.run(&["perl", "-e", quiet])?;
    let given = UdpSocket::bind("127.0.0.1:0")?;
    let (taken, sixth) = (given.local_addr()?, UdpSocket::bind("[::1]:0")?);
    let peer = format!("sockaddr_in({}, INADDR_LOOPBACK)", taken.port());
    let sixth_peer = format!("pack_sockaddr_in6({}, Socket::IN6ADDR_LOOPBACK)", sixth.local_addr()?.port());
    let script = format!(
        "use Socket qw(:all); socket(my $a, PF_INET, SOCK_DGRAM, 0); connect($a, {peer}) or die $!; \
         socket(my $b, PF_INET6, SOCK_DGRAM, 0); send($b, 'x', 0, {sixth_peer}) or die $!"
    );
    cell.run(&["perl", "-e", &script])?;
    // A port that is free: the kernel has just had it to give.
    drop(given);
    let listen = format!("use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); bind($s, {peer}) or die $!");
    cell.run(&["perl", "-e", &listen])?;
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Listen)?;
    let reported =
        |kind| seen.iter().filter(move |s| s.kind == kind).map(|s| (s.object.as_str(), s.address)).collect::<Vec<_>>();
    assert_eq!(reported(SignalKind::Connect), [("udp", Some(taken)), ("udp", Some(sixth.local_addr()?))]);
    assert_eq!(reported(SignalKind::Listen), [("udp", Some(taken))]);
    Ok(())
}

#[test]
fn repetitions_are_one_observation_with_a_count_and_every_event_is_accounted_for() -> Result<()> {
    let Some((mut sensors, cell)) =
        open("repetitions_are_one_observation_with_a_count_and_every_event_is_accounted_for")?
    else {
        return Ok(());
    };
    for _ in 0..7 {
        cell.run(&["true"])?;
    }
    let seen = until(&mut sensors, &cell, |s| s.binary.ends_with("/true"))?;
    assert_eq!(seen.iter().filter(|s| s.kind == SignalKind::ProcessStart).count(), 1);
    let again = sensors.sweep();
    let start = again.iter().find(|s| s.pod == cell.pod && s.kind == SignalKind::ProcessStart).context("repeated")?;
    assert_eq!((start.count, start.last > start.first), (7, true));
    assert!(!sensors.sweep().iter().any(|s| s.pod == cell.pod && s.kind == SignalKind::ProcessStart), "reported twice");
    accounted(&sensors)
}

#[test]
fn what_does_not_fit_into_the_ring_is_counted_as_dropped() -> Result<()> {
    let Some((mut sensors, cell)) = open("what_does_not_fit_into_the_ring_is_counted_as_dropped")? else {
        return Ok(());
    };
    let script = "mount -t tmpfs none /etc; for n in $(seq 2000); do echo > /etc/$n; done";
    cell.run(&["unshare", "-m", "bash", "-ec", script])?;
    let opens = |sensors: &Sensors| -> Result<_> {
        let all = sensors.counters()?;
        Ok(all.into_iter().find(|(sensor, _)| *sensor == "file").context("the file sensor's")?.1)
    };
    let counted = opens(&sensors)?;
    assert!(counted.generated >= 2000 && counted.dropped > 500, "{counted:?}");
    let written = sensors.poll().iter().filter(|s| s.pod == cell.pod && s.kind == SignalKind::EtcWrite).count();
    assert!(written > 500 && written + usize::try_from(counted.dropped)? >= 2000, "{written} of {counted:?}");
    accounted(&sensors)
}

#[test]
fn under_a_flood_each_containers_book_balances_and_names_what_was_lost() -> Result<()> {
    let Some((sensors, cell)) = open("under_a_flood_each_containers_book_balances_and_names_what_was_lost")? else {
        return Ok(());
    };
    let cells = [cell, Cell::new()?, Cell::new()?];
    let script = "mount -t tmpfs none /etc; for n in $(seq $1) $(seq $1); do echo > /etc/$n; done";
    let flood =
        |(cell, files): (&Cell, &str)| cell.command(&["unshare", "-m", "bash", "-ec", script, "-", files]).spawn();
    // Together more than the ring holds; the last one alone would fit.
    let running: Vec<_> = cells.iter().zip(["1500", "1500", "20"]).map(flood).collect::<std::io::Result<_>>()?;
    for mut flood in running {
        ensure!(flood.wait()?.success());
    }
    let generated = |sensors: &Sensors| -> Result<u64> {
        Ok(sensors.counters()?.iter().map(|(_, counted)| counted.generated).sum())
    };
    let before = generated(&sensors)?;
    let counters = sensors.counters_by_owner()?;
    let all: u64 = counters.by_owner.values().chain([&counters.unattributed]).map(|own| own.counters.generated).sum();
    assert!(before <= all && all <= generated(&sensors)?, "{all} by owner, of at least {before}");
    for (cell, files) in cells.iter().zip([1500, 1500, 20]) {
        let owner = Owner::Pod { pod: cell.pod.clone(), container: cell.id.clone() };
        let own = counters.by_owner.get(&owner).context("its counters")?;
        let counted = own.counters;
        assert_eq!(counted.generated, counted.delivered + counted.folded + counted.dropped, "{own:?}");
        assert!(counted.generated >= 2 * files, "{own:?}");
        assert_eq!(own.dropped_kinds.contains(&SignalKind::EtcWrite), counted.dropped > 0, "{own:?}");
    }
    let dropped = counters.by_owner.values().filter(|own| own.counters.dropped > 0).count();
    assert!(dropped > 0, "the ring buffer held it all");
    Ok(())
}

fn accounted(sensors: &Sensors) -> Result<()> {
    for (sensor, counted) in sensors.counters()? {
        let sum = counted.delivered + counted.folded + counted.dropped;
        ensure!(counted.generated == sum, "{sensor}: {counted:?}");
    }
    Ok(())
}

#[test]
fn what_this_kernel_lacks_is_a_state_with_its_reason() -> Result<()> {
    let Some((sensors, _cell)) = open("what_this_kernel_lacks_is_a_state_with_its_reason")? else { return Ok(()) };
    for state in sensors.states() {
        assert_eq!(state.state == CoverageState::Seen, state.reason.is_empty(), "{state:?}");
        // The one thing that kernels without modules lack.
        assert!(state.state == CoverageState::Seen || state.sensor == "module", "{state:?}");
    }
    Ok(())
}

/// What a runtime does to make a container (namespaces, mounts, a new root, giving up capabilities) happens in the container's
/// cgroup, but is not the container's doing.
#[test]
fn a_real_runtimes_own_work_is_not_reported_of_its_container() -> Result<()> {
    let Some((mut sensors, cell)) = open("a_real_runtimes_own_work_is_not_reported_of_its_container")? else {
        return Ok(());
    };
    let bundle = tempfile::tempdir()?;
    let programs = bundle.path().join("rootfs/bin");
    std::fs::create_dir_all(&programs)?;
    std::fs::copy("/bin/busybox", programs.join("busybox"))?;
    let config = include_str!("bundle.json").replace("POD", &cell.pod).replace("CONTAINER", &cell.id);
    std::fs::write(bundle.path().join("config.json"), config)?;
    let state = tempfile::tempdir()?;
    let status = Command::new("runc")
        .arg("--root")
        .arg(state.path())
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(&cell.id)
        .status()?;
    ensure!(status.success(), "runc ended with {status}");
    let seen = until(&mut sensors, &cell, |s| s.kind == SignalKind::Listen)?;
    let own = seen.iter().map(|s| (s.kind, s.binary.as_str())).collect::<Vec<_>>();
    assert_eq!(
        own,
        [
            // A shell, and no unexpected one: it is what the container was made to run.
            (SignalKind::ProcessStart, "/bin/busybox"),
            (SignalKind::ProcessStart, "/bin/busybox"),
            (SignalKind::ProcessStart, "/bin/busybox"),
            (SignalKind::Listen, "/bin/busybox"),
        ]
    );
    Ok(())
}

#[test]
fn a_container_that_was_there_before_the_sensors_is_known() -> Result<()> {
    let Some((sensors, mut cell)) = open("a_container_that_was_there_before_the_sensors_is_known")? else {
        return Ok(());
    };
    drop(sensors);
    cell.stay(&["sh", "-c", "echo x; read line; ls; echo done; read line"])?;
    let mut sensors = Sensors::open()?;
    cell.say("go\n")?;
    let seen = until(&mut sensors, &cell, |s| s.binary.ends_with("/ls"))?;
    assert_eq!((seen[0].pod.as_str(), sensors.unattributed()), (cell.pod.as_str(), 0));
    Ok(())
}

/// Runs one test of this program as an unprivileged container of containerd's runs: in a cgroup namespace of its own.
fn again_in_a_cgroup_namespace(test: &str) -> Result<()> {
    let program = std::env::current_exe()?.display().to_string();
    let cell = Cell::new()?;
    let mut again = cell.command(&["unshare", "-C", &program, "--exact", test, "--nocapture"]);
    let status = again.env("HOLDFAST_CGROUP_NAMESPACE", "own").status()?;
    ensure!(status.success(), "{test} failed in its own cgroup namespace");
    Ok(())
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_idle_container_from_before_the_sensors_is_known_from_within_another_one() -> Result<()> {
    let test = "an_idle_container_from_before_the_sensors_is_known_from_within_another_one";
    if std::env::var_os("HOLDFAST_CGROUP_NAMESPACE").is_none() {
        return again_in_a_cgroup_namespace(test);
    }
    let empty = Cell::new()?;
    let Some((mut sensors, _)) = open(test)? else { return Ok(()) };
    // Born into it (clone3, CLONE_INTO_CGROUP): nobody sees it being made, nor anybody entering it.
    let script = "open(my $cgroup, '<', $ARGV[0]) or die $!; my $args = pack('Q11', 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, \
                  fileno($cgroup)); my $pid = syscall(435, $args, 88); die $! if $pid < 0; \
                  if (!$pid) { system('unshare', '-m', 'ls', '/'); <STDIN> } print \"$pid\\n\"; exit";
    let folder = empty.folder().display().to_string();
    let born =
        Command::new("perl").args(["-e", script, &folder]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let seen = until(&mut sensors, &empty, |s| s.binary.ends_with("/ls"));
    std::fs::write(empty.folder().join("cgroup.kill"), "1")?;
    let _ = born.wait_with_output()?;
    let ls = seen?;
    assert_eq!(ls[0].pod, empty.pod);
    Ok(())
}
