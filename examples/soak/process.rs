//! A process of the attack, as `run` sees it: started on some clock, stopped, continued, killed, heard.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

/// Where Debian's libfaketime is, by the machine's name of its architecture.
const FAKETIME: &str = "faketime/libfaketime.so.1";

/// What processes said.
#[derive(Default)]
pub struct Said {
    pub counts: BTreeMap<String, u64>,
    pub violations: Vec<String>,
}

/// What counts as something that got done.
const PROGRESS: [&str; 4] = ["appends acknowledged", "listens", "snapshots", "steps heard"];

impl Said {
    /// How much got done until now.
    pub fn progress(&self) -> u64 {
        PROGRESS.iter().filter_map(|what| self.counts.get(*what)).sum()
    }
}

pub type Tally = Arc<Mutex<Said>>;

/// What all processes said until now, or a change of it.
pub fn with<R>(tally: &Tally, look: impl FnOnce(&mut Said) -> R) -> R {
    look(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How processes are started.
pub struct Starter {
    /// The directory of the run.
    pub directory: PathBuf,
    pub salt: u64,
    pub shards: u32,
    /// Where the store is, in variables of the environment.
    pub place: Vec<(String, String)>,
    /// Where libfaketime is, if clocks are to be stepped.
    pub faketime: Option<PathBuf>,
    pub tally: Tally,
}

impl Starter {
    /// Starts a process of this role; `clock` is a file with the offset of its wall clock, or none for the right one.
    pub fn start(&self, role: &str, number: u32, seed: u64, clock: Option<&Path>) -> std::io::Result<Process> {
        use std::os::unix::process::CommandExt;
        let logs = self.directory.join("logs");
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("{role} {number}"));
        let mut command = Command::new(std::env::current_exe()?);
        let foreign = std::env::vars_os().map(|(name, _)| name);
        foreign.filter(|name| name.to_string_lossy().starts_with("AWS_")).for_each(|name| {
            command.env_remove(name); // no other server than the run's own
        });
        command.arg(role).arg("--directory").arg(&self.directory).args(["--number", &number.to_string()]);
        command.args(["--seed", &seed.to_string(), "--salt", &self.salt.to_string()]);
        command.args(["--shards", &self.shards.to_string()]).envs(self.place.iter().cloned());
        if let (Some(library), Some(clock)) = (&self.faketime, clock) {
            // The wall clock alone: waiting is by the monotonic one.
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
            command.envs([("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_CACHE_DURATION", "1")]);
            command.env("NO_FAKE_STAT", "1");
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).create(true).open(&log)?);
        let mut child = command.process_group(0).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let tally = Arc::clone(&self.tally);
        let listening = std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                with(&tally, |said| match line.split_once(' ') {
                    Some(("count", what)) => *said.counts.entry(what.to_owned()).or_default() += 1,
                    Some(("violation", what)) => said.violations.push(what.to_owned()),
                    _ => said.violations.push(format!("a process says {line:?}")),
                });
            }
        });
        Ok(Process { child, input, listening: Some(listening), log })
    }
}

/// A process that was started. It is killed with the value.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    listening: Option<JoinHandle<()>>,
    /// What it writes to its standard error.
    pub log: PathBuf,
}

impl Process {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Tells it to come to its end.
    pub fn end(&mut self) {
        self.input = None;
    }

    /// Not waited for yet, so nobody else has its id.
    fn signal(&self, signal: Signal) {
        if let Some(process) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(process, signal); // it may have ended by itself
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
        forget(&self.child.id().to_string());
    }
}

/// What libfaketime names after a process, in the machine's shared memory.
const SHARED: &str = "/dev/shm";
const SHARED_NAMES: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

/// Removes what a process that was killed left there: the library stumbles over it when the id comes again.
fn forget(id: &str) {
    for name in SHARED_NAMES {
        let _ = std::fs::remove_file(format!("{SHARED}/{name}{id}")); // if it had any
    }
}

/// The same for all processes that are gone, whoever started them.
pub fn forget_the_dead() {
    for entry in std::fs::read_dir(SHARED).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = SHARED_NAMES.iter().find_map(|start| name.strip_prefix(start)?.parse::<u32>().ok());
        if let Some(id) = id.filter(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            forget(&id.to_string());
        }
    }
}

/// Where libfaketime is on this machine.
pub fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|folder| folder.path());
    folders.map(|folder| folder.join(FAKETIME)).find(|library| library.is_file())
}

/// Sets the clock of the processes that look at this file, in seconds from the right time. They see it within a second.
pub fn set_clock(file: &Path, seconds: i64) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, format!("{seconds:+}\n"))?;
    std::fs::rename(&fresh, file) // never half of it
}
