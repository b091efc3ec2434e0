//! The examples as programs: run, followed, killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

use super::ScratchRepository;

/// An example's program: built beside this test's.
pub(crate) fn program(example: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program is somewhere");
    let target = this.ancestors().nth(2).expect("cargo's directories");
    let path = target.join("examples").join(format!("{example}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not there: run `cargo build --examples` first", path.display());
    path
}

/// A run of the main example.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("git_history"));
    command.current_dir(directory).args(arguments).stdin(Stdio::null());
    command
}

/// What a run says, once it has ended.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Output {
    let output = command(directory, arguments).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    output
}

/// What a run prints that succeeds.
pub(crate) fn printed(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The JSON that a run prints.
pub(crate) fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(directory, arguments)).expect("JSON")
}

/// The message of a run that fails with exit code 1 and prints nothing else.
pub(crate) fn refusal(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.starts_with("error: ") && said.trim_end().lines().count() >= 2, "{said}");
    said
}

/// What `--json` says of a commit, as `git diff --numstat` counts it: the fields that the history alone decides.
pub(crate) fn expected(repository: &ScratchRepository, number: usize, id: &str) -> Value {
    let mut extensions: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let (mut files, mut lines) = (0, 0);
    for (path, count) in repository.numstat(id) {
        let path = String::from_utf8(path).expect("a plain name");
        let name = path.rsplit('/').next().expect("a name");
        let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map_or("", |(_, rest)| rest);
        let sum = extensions.entry(extension.to_owned()).or_default();
        *sum = (sum.0 + 1, sum.1 + count);
        (files, lines) = (files + 1, lines + count);
    }
    let extensions: BTreeMap<_, _> = extensions
        .into_iter()
        .map(|(name, (files, lines))| (name, json!({ "files": files, "lines": lines })))
        .collect();
    json!({ "commit": number, "files": files, "lines": lines, "extensions": extensions })
}

/// The same fields of what a run printed.
pub(crate) fn table(printed: &Value) -> Value {
    let field = |name: &str| printed[name].clone();
    json!({
        "commit": field("commit"), "files": field("files"), "lines": field("lines"), "extensions": field("extensions"),
    })
}

/// A run that stays. Dropping it kills it.
pub(crate) struct Following {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Following {
    /// Starts `--follow --json`.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = command(directory, arguments);
        command.args(["--follow", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, output }
    }

    /// The next object that it prints.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a pipe can be read");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}: {}", self.said()))
    }

    /// Sends it a signal: `INT` is Ctrl-C.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Closes the pipe that it prints to.
    pub(crate) fn stop_reading(self) -> Child {
        self.child
    }

    /// Its exit code.
    pub(crate) fn ends_with(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }

    /// Its exit code, and what it said on standard error.
    pub(crate) fn ends_saying(mut self) -> (Option<i32>, String) {
        let said = self.said();
        (self.child.wait().expect("it ends").code(), said)
    }

    /// What it complained about, once it has ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        let pipe = self.child.stderr.take();
        let _ = pipe.map(|mut pipe| std::io::Read::read_to_string(&mut pipe, &mut said));
        said
    }
}
