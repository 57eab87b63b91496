//! Keeps the lab's programs: starts them with a log each, ends them by pid, and lets none outlive its starter.
//!
//! The kernel ends a program when the *thread* that started it ends (`setpriv --pdeathsig`), so each control plane starts
//! its programs from one thread of its own that lives exactly as long as the control plane: a killed test leaves nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

type Start = (String, Command, mpsc::Sender<Result<u32>>);

enum Request {
    Start(Box<Start>),
    Alive(mpsc::Sender<Option<String>>),
}

/// The thread that owns the programs. Dropping it ends them, the last started first.
pub(crate) struct Keeper {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<thread::JoinHandle<()>>,
    logs: PathBuf,
}

impl Keeper {
    /// A keeper whose programs log into this folder.
    pub(crate) fn new(logs: &Path) -> Result<Self> {
        let (requests, inbox) = mpsc::channel();
        let thread = thread::Builder::new().name("lab-keeper".into()).spawn(move || keep(&inbox))?;
        Ok(Self { requests: Some(requests), thread: Some(thread), logs: logs.to_owned() })
    }

    /// Starts a program and answers its process id; its output goes to `<name>.log`.
    pub(crate) fn start(&self, name: &str, program: &Path, args: &[String]) -> Result<u32> {
        let log = File::create(self.log(name)).with_context(|| format!("creating the log of {name}"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (reply, answer) = mpsc::channel();
        self.send(Request::Start(Box::new((name.to_owned(), command, reply))))?;
        answer.recv().context("the lab's keeper ended")?
    }

    /// Fails if a program has ended by itself, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        self.send(Request::Alive(reply))?;
        match answer.recv().context("the lab's keeper ended")? {
            None => Ok(()),
            Some(name) => bail!("{name} ended by itself; its log ends with:\n{}", self.tail(&name)),
        }
    }

    /// The last lines of every program's log.
    pub(crate) fn tails(&self) -> String {
        let entries = std::fs::read_dir(&self.logs).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| log_of(&entry.path())).collect();
        names.sort();
        names.iter().map(|name| format!("-- {name}\n{}\n", self.tail(name))).collect()
    }

    /// The last lines of a program's log.
    pub(crate) fn tail(&self, name: &str) -> String {
        let text = std::fs::read(self.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn send(&self, request: Request) -> Result<()> {
        let requests = self.requests.as_ref().context("the lab's keeper was stopped")?;
        requests.send(request).map_err(|_| anyhow::anyhow!("the lab's keeper ended"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the keeper has been reported by its own thread; nothing is left to end here.
            let _ = thread.join();
        }
    }
}

/// The name of the program that wrote a log.
fn log_of(path: &Path) -> Option<String> {
    let is_log = path.extension().is_some_and(|extension| extension == "log");
    path.file_stem().filter(|_| is_log).map(|stem| stem.to_string_lossy().into_owned())
}

fn keep(inbox: &mpsc::Receiver<Request>) {
    let mut programs: Vec<(String, Child)> = Vec::new();
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Start(start) => {
                let (name, mut command, reply) = *start;
                let started = command.spawn().with_context(|| format!("starting {name}"));
                // A caller that stopped waiting has nobody to tell.
                let _ = reply.send(started.map(|child| {
                    let pid = child.id();
                    programs.push((name, child));
                    pid
                }));
            }
            Request::Alive(reply) => {
                let mut ended = programs
                    .iter_mut()
                    .filter_map(|(name, child)| (!matches!(child.try_wait(), Ok(None))).then(|| name.clone()));
                let _ = reply.send(ended.next());
            }
        }
    }
    for (_, child) in programs.iter_mut().rev() {
        end(child);
    }
}

/// Asks a program to end, waits, and insists.
fn end(child: &mut Child) {
    if let Ok(None) = child.try_wait()
        && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        // It may have ended in between: then there is nothing to signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
