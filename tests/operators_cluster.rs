//! Two processes with two workers each, for real: results, who fetched, and a process that is killed while hydrating.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const APPENDS: u64 = 60;
const ROWS: u64 = 2_000;

/// The example's program: built beside this test's.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().nth(2).unwrap();
    let path = target.join("examples").join(format!("cluster{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not there: run `cargo build --examples` first", path.display());
    path
}

fn fill(directory: &Path) {
    let (appends, rows) = (APPENDS.to_string(), ROWS.to_string());
    let status = Command::new(program()).arg(directory).args(["fill", &appends, &rows]).stdout(Stdio::null()).status();
    assert!(status.unwrap().success());
}

/// A process of the cluster.
struct Process {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(directory: &Path, hosts: &Path, processes: usize) -> Vec<Process> {
    // Ports that are free now: nobody else takes them within the second.
    let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let lines: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    std::fs::write(hosts, lines.join("\n")).unwrap();
    drop(listeners);
    let process = |number: usize| {
        let (count, number) = (processes.to_string(), number.to_string());
        let mut command = Command::new(program());
        command.arg(directory).args(["sum", "-n", &count, "-p", &number, "-w", "2", "-h"]).arg(hosts);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Process { child, stderr }
    };
    (0..processes).map(process).collect()
}

/// What the cluster prints, and how many rows each process fetched.
fn finish(processes: Vec<Process>) -> (BTreeMap<String, (u64, u64)>, Vec<u64>) {
    let mut sums = BTreeMap::new();
    let mut fetched = Vec::new();
    for mut process in processes {
        let (mut errors, mut output) = (String::new(), String::new());
        process.stderr.read_to_string(&mut errors).unwrap();
        process.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(process.child.wait().unwrap().success(), "{errors}");
        // Timely may print of its own.
        for line in output.lines().filter(|line| line.starts_with("key ")) {
            let words: Vec<&str> = line.rsplitn(3, ' ').collect();
            let [sum, count, key] = words[..] else { panic!("{line:?}") };
            let before = sums.insert(key.to_owned(), (count.parse().unwrap(), sum.parse().unwrap()));
            assert_eq!(before, None, "{key} in two processes");
        }
        let rows = errors.lines().filter_map(|line| line.strip_suffix(" rows fetched"));
        fetched.push(rows.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum());
    }
    (sums, fetched)
}

fn expected() -> BTreeMap<String, (u64, u64)> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for number in 0..APPENDS * ROWS {
        let (count, sum) = sums.entry(format!("key {:03}", number * 7919 % 100)).or_default();
        *count += 1;
        *sum += number;
    }
    sums
}

#[test]
fn two_processes_agree_and_a_killed_one_is_started_again() {
    let scratch = tempfile::tempdir().unwrap();
    let (directory, hosts) = (scratch.path().join("data"), scratch.path().join("hosts"));
    fill(&directory);

    let (sums, fetched) = finish(start(&directory, &hosts, 2));
    assert_eq!(sums, expected());
    assert_eq!(fetched.iter().sum::<u64>(), APPENDS * ROWS);
    assert!(fetched.iter().all(|rows| *rows > 0), "each process fetches: {fetched:?}");

    for killed in 0..2 {
        let mut processes = start(&directory, &hosts, 2);
        // In the middle: its first rows are there, and it has not said yet how many it fetched.
        let mut line = String::new();
        while !line.contains("hydrating") {
            line.clear();
            assert_ne!(processes[killed].stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        processes[killed].child.kill().unwrap();
        drop(processes);

        let (sums, _) = finish(start(&directory, &hosts, 2));
        assert_eq!(sums, expected(), "after process {killed} was killed");
    }
}
