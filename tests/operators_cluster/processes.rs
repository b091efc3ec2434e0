//! Real processes of the example `cluster`: what they say, line by line, within a deadline.
#![allow(clippy::disallowed_methods)] // real processes keep the machine's time

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A process that says nothing for so long, on a machine with other things to do, has stopped somewhere.
const LIMIT: Duration = Duration::from_secs(120);

/// Lines that wait to be read. More than any process says.
const LINES_MAX: usize = 100_000;

/// Count and sum of each key.
pub type Sums = BTreeMap<String, (u64, u64)>;

/// What the example makes of rows with these numbers.
pub fn sums_of(numbers: impl IntoIterator<Item = u64>) -> Sums {
    let mut sums = Sums::new();
    for number in numbers {
        let (count, sum) = sums.entry(format!("key {:03}", number * 7919 % 100)).or_default();
        *count += 1;
        *sum += number;
    }
    sums
}

/// Where processes keep their shard.
pub struct Place {
    name: String,
    variables: Vec<(&'static str, String)>,
    hosts: TempDir,
}

impl Place {
    /// A directory or a URL, and what stands in the environment of the processes that use it.
    pub fn new(name: &str, variables: &[(&'static str, String)]) -> Self {
        Self { name: name.to_owned(), variables: variables.to_vec(), hosts: tempfile::tempdir().unwrap() }
    }

    pub fn start(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(program());
        command.arg(&self.name).args(arguments).envs(self.variables.clone());
        Process::start(command)
    }

    /// Runs a process of which nobody reads more than the first line, to its end: what it said on standard error.
    pub fn start_unread(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let mut command = Command::new(program());
        command.arg(&self.name).args(arguments).envs(self.variables.clone());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it says something first");
        let output = child.wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    /// A cluster of so many processes, of two workers each.
    pub fn start_cluster(&self, arguments: &[&str], processes: usize) -> Vec<Process> {
        // Ports that are free now: nobody else takes them within the second.
        let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let lines: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let hosts = self.hosts.path().join(&lines[0]).to_str().unwrap().to_owned(); // of this cluster alone
        std::fs::write(&hosts, lines.join("\n")).unwrap();
        drop(listeners);
        let count = processes.to_string();
        let process = |number: usize| {
            let number = number.to_string();
            self.start(&[arguments, &["-n", &count, "-p", &number, "-w", "2", "-h", &hosts]].concat())
        };
        (0..processes).map(process).collect()
    }
}

/// The example's program: built beside this test's.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().nth(2).unwrap();
    let path = target.join("examples").join(format!("cluster{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not there: run `cargo build --examples` first", path.display());
    path
}

/// One process, which ends with this value.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(LINES_MAX);
        listen(child.stdout.take().unwrap(), sender.clone());
        listen(child.stderr.take().unwrap(), sender);
        Self { child, lines, said: Vec::new() }
    }

    /// The next line, or `None` at the end of all.
    fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a process says nothing any more: {:#?}", self.said),
        }
    }

    /// Waits until it says such a line.
    pub fn wait_for(&mut self, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while let Some(line) = self.next() {
            if wanted(&line) {
                return;
            }
            assert!(Instant::now() < deadline, "it says other things: {:#?}", self.said);
        }
        panic!("it ended: {:#?}", self.said);
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits until it has ended, whatever of.
    pub fn end(&mut self) -> ExitStatus {
        while self.next().is_some() {}
        self.child.wait().unwrap()
    }

    /// Waits until it has ended well, and gives all that it said.
    pub fn finish(mut self) -> Vec<String> {
        let status = self.end();
        assert!(status.success(), "{:#?}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

fn listen(output: impl Read + Send + 'static, lines: SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = lines.send(line); // nobody may listen any more, but it must not wait for a reader
        }
    });
}

/// What a cluster that ends well computed, and how many rows each process fetched.
pub fn finish(processes: Vec<Process>) -> (Sums, Vec<u64>) {
    let said: Vec<Vec<String>> = processes.into_iter().map(Process::finish).collect();
    (sums(&said), said.iter().map(|said| fetched(said)).collect())
}

/// The sums that processes printed: each key is printed by one.
pub fn sums(said: &[Vec<String>]) -> Sums {
    let mut sums = Sums::new();
    // Timely may print of its own.
    for line in said.iter().flatten().filter(|line| line.starts_with("key ")) {
        let words: Vec<&str> = line.rsplitn(3, ' ').collect();
        let [sum, count, key] = words[..] else { panic!("{line:?}") };
        let before = sums.insert(key.to_owned(), (count.parse().unwrap(), sum.parse().unwrap()));
        assert_eq!(before, None, "{key} twice");
    }
    sums
}

fn fetched(said: &[String]) -> u64 {
    let rows = said.iter().filter_map(|line| line.strip_suffix(" rows fetched"));
    rows.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
