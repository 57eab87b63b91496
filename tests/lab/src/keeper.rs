//! Owns the lab's programs: starts each with a log, ends them by pid, and lets none outlive its starter.
//!
//! The kernel kills a program when the *thread* that started it ends (`setpriv --pdeathsig`), so each control plane starts
//! its programs from a thread that lives exactly as long as the control plane: a killed test leaves no process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a program may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A program that was started, and how.
struct Program {
    name: String,
    command: Command,
    child: Child,
    /// Killed on request, so that its absence is no failure.
    killed: bool,
}

enum Request {
    Start(String, Box<Command>, mpsc::Sender<Result<u32>>),
    Kill(String, mpsc::Sender<Result<()>>),
    Restart(String, mpsc::Sender<Result<()>>),
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
        let thread = thread::Builder::new().name("lab-keeper".into()).spawn(move || serve(&inbox))?;
        Ok(Self { requests: Some(requests), thread: Some(thread), logs: logs.to_owned() })
    }

    /// Starts a program and answers its process id; its output goes to `<name>.log`.
    pub(crate) fn start(&self, name: &str, program: &Path, args: &[String]) -> Result<u32> {
        let log = File::create(self.log(name)).with_context(|| format!("creating the log of {name}"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (reply, answer) = mpsc::channel();
        self.send(Request::Start(name.to_owned(), Box::new(command), reply))?;
        answer.recv().context("the lab's keeper ended")?
    }

    /// Ends a program as `kill -9` does. Until it is restarted its absence is no failure.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        self.send(Request::Kill(name.to_owned(), reply))?;
        answer.recv().context("the lab's keeper ended")?
    }

    /// Starts a program again that was killed or has ended, with the same arguments and log.
    pub(crate) fn restart(&self, name: &str) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        self.send(Request::Restart(name.to_owned(), reply))?;
        answer.recv().context("the lab's keeper ended")?
    }

    /// Fails if a program has ended unasked, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        self.send(Request::Alive(reply))?;
        match answer.recv().context("the lab's keeper ended")? {
            None => Ok(()),
            Some(name) => bail!("{name} ended; its log ends with:\n{}", self.tail(&name)),
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
            // A panic in the keeper has been reported by its own thread; there is nothing left to end.
            let _ = thread.join();
        }
    }
}

/// The name of the program that wrote a log.
fn log_of(path: &Path) -> Option<String> {
    let is_log = path.extension().is_some_and(|extension| extension == "log");
    path.file_stem().filter(|_| is_log).map(|stem| stem.to_string_lossy().into_owned())
}

fn serve(inbox: &mpsc::Receiver<Request>) {
    let mut programs: Vec<Program> = Vec::new();
    // A failed reply means that the caller has stopped waiting.
    while let Ok(request) = inbox.recv() {
        match request {
            Request::Start(name, mut command, reply) => {
                let started = command.spawn().with_context(|| format!("starting {name}"));
                let _ = reply.send(started.map(|child| {
                    let pid = child.id();
                    programs.push(Program { name, command: *command, child, killed: false });
                    pid
                }));
            }
            Request::Kill(name, reply) => {
                let _ = reply.send(named(&mut programs, &name).and_then(Program::kill));
            }
            Request::Restart(name, reply) => {
                let _ = reply.send(named(&mut programs, &name).and_then(Program::restart));
            }
            Request::Alive(reply) => {
                let mut ended = programs.iter_mut().filter_map(|program| {
                    let ended = !program.killed && !matches!(program.child.try_wait(), Ok(None));
                    ended.then(|| program.name.clone())
                });
                let _ = reply.send(ended.next());
            }
        }
    }
    for program in programs.iter_mut().rev() {
        end(&mut program.child);
    }
}

fn named<'a>(programs: &'a mut [Program], name: &str) -> Result<&'a mut Program> {
    programs.iter_mut().find(|program| program.name == name).with_context(|| format!("the lab has no program {name}"))
}

impl Program {
    fn kill(&mut self) -> Result<()> {
        self.killed = true;
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for the end of {}", self.name))?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let runs = !self.killed && matches!(self.child.try_wait(), Ok(None));
        if !runs {
            self.child = self.command.spawn().with_context(|| format!("starting {} again", self.name))?;
            self.killed = false;
        }
        Ok(())
    }
}

/// Sends SIGTERM, waits, then kills.
fn end(child: &mut Child) {
    if let Ok(None) = child.try_wait()
        && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
    {
        // An error means that it has ended in between.
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
