//! Git repositories made for a test, from a script of commits.
//!
//! A history is streamed through `git fast-import`, so thousands of commits take well under a second. Everything is
//! fixed (names, dates, branch), so a script gives the same ids on every machine. Failures panic: this is test code.

pub(crate) mod program;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A repository in a temporary directory, with a work tree.
pub(crate) struct ScratchRepository {
    directory: TempDir,
    /// What `fast-import` is still to be told.
    script: Vec<u8>,
    /// Commits so far, merged branches included. Marks are counted by it.
    commits: u64,
    /// The mark of the newest commit of `main` that the script makes.
    main: Option<u64>,
    written_before: bool,
}

/// What a commit does to one path.
pub(crate) enum Edit<'a> {
    /// A file with this content.
    File(&'a [u8], &'a [u8]),
    /// The same, executable.
    Executable(&'a [u8], &'a [u8]),
    /// A symbolic link with this target.
    Link(&'a [u8], &'a [u8]),
    /// A submodule at a made-up commit.
    Submodule(&'a [u8], u8),
    /// The path is gone, with all that is below it.
    Delete(&'a [u8]),
    /// The first path becomes the second.
    Rename(&'a [u8], &'a [u8]),
}

impl ScratchRepository {
    /// A repository without a commit.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        git(directory.path(), &["init", "-q", "-b", "main"]);
        Self { directory, script: Vec::new(), commits: 0, main: None, written_before: false }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds a commit to `main`.
    pub(crate) fn commit(&mut self, edits: &[Edit<'_>]) {
        let parent = self.parent();
        self.main = Some(self.add("main", parent, None, edits));
    }

    /// Adds a commit on a side branch, with the edits of `theirs`, and a merge of it with those of `merged`, which are
    /// relative to `main`.
    pub(crate) fn merge(&mut self, theirs: &[Edit<'_>], merged: &[Edit<'_>]) {
        let parent = self.parent();
        let side = self.add("side", parent.clone(), None, theirs);
        self.main = Some(self.add("main", parent, Some(side), merged));
    }

    /// Carries the script out and brings the work tree to the newest commit.
    pub(crate) fn write(&mut self) {
        let script = std::mem::take(&mut self.script);
        let mut import = command(self.path());
        import.args(["fast-import", "--quiet", "--force", "--date-format=raw"]).stdin(Stdio::piped());
        let mut child = import.spawn().expect("git");
        child.stdin.take().expect("a pipe").write_all(&script).expect("git fast-import reads all");
        assert!(child.wait().expect("git ends").success(), "git fast-import failed");
        git(self.path(), &["reset", "-q", "--hard", "main"]);
        (self.main, self.written_before) = (None, true);
    }

    /// Runs git in the repository and returns what it prints.
    pub(crate) fn git(&self, arguments: &[&str]) -> Vec<u8> {
        git(self.path(), arguments)
    }

    /// The ids of the first-parent history, oldest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        let listed = self.git(&["log", "--first-parent", "--reverse", "--format=%H"]);
        String::from_utf8(listed).expect("ids are text").lines().map(str::to_owned).collect()
    }

    /// What `git diff --numstat <empty tree> <commit>` prints: paths and lines, a binary file with 0 lines.
    pub(crate) fn numstat(&self, commit: &str) -> Vec<(Vec<u8>, u64)> {
        numstat(self.path(), commit)
    }

    fn parent(&self) -> Option<String> {
        match self.main {
            Some(mark) => Some(format!(":{mark}")),
            None => self.written_before.then(|| "refs/heads/main^0".to_owned()),
        }
    }

    fn add(&mut self, branch: &str, parent: Option<String>, merged: Option<u64>, edits: &[Edit<'_>]) -> u64 {
        self.commits += 1;
        let mark = self.commits;
        let date = 1_700_000_000 + mark;
        self.say(format_args!("commit refs/heads/{branch}\nmark :{mark}\n"));
        self.say(format_args!("committer Test <test@example.org> {date} +0000\ndata 0\n"));
        if let Some(parent) = parent {
            self.say(format_args!("from {parent}\n"));
        }
        if let Some(merged) = merged {
            self.say(format_args!("merge :{merged}\n"));
        }
        for edit in edits {
            match *edit {
                Edit::File(path, content) => self.modify("100644", path, content),
                Edit::Executable(path, content) => self.modify("100755", path, content),
                Edit::Link(path, target) => self.modify("120000", path, target),
                Edit::Submodule(path, number) => {
                    let id = format!("{number:02x}").repeat(20);
                    let path = quoted(path);
                    self.say(format_args!("M 160000 {id} {path}\n"));
                }
                Edit::Delete(path) => {
                    let path = quoted(path);
                    self.say(format_args!("D {path}\n"));
                }
                Edit::Rename(from, to) => {
                    let (from, to) = (quoted(from), quoted(to));
                    self.say(format_args!("R {from} {to}\n"));
                }
            }
        }
        mark
    }

    fn modify(&mut self, mode: &str, path: &[u8], content: &[u8]) {
        let (path, length) = (quoted(path), content.len());
        self.say(format_args!("M {mode} inline {path}\ndata {length}\n"));
        self.script.extend_from_slice(content);
        self.script.push(b'\n');
    }

    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        self.script.write_fmt(words).expect("memory can be written");
    }
}

/// What `git diff --numstat <empty tree> <commit>` prints in a repository: paths and lines, a binary file with 0 lines.
pub(crate) fn numstat(repository: &Path, commit: &str) -> Vec<(Vec<u8>, u64)> {
    let empty_tree = git(repository, &["hash-object", "-t", "tree", "/dev/null"]);
    let empty_tree = String::from_utf8(empty_tree).expect("an id is text");
    let printed = git(repository, &["diff", "--numstat", "-z", empty_tree.trim(), commit]);
    let mut rows = Vec::new();
    for record in printed.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let fields: Vec<&[u8]> = record.splitn(3, |byte| *byte == b'\t').collect();
        let added = std::str::from_utf8(fields[0]).expect("a count is text");
        let lines = if added == "-" { 0 } else { added.parse().expect("a count is a number") };
        rows.push((fields[2].to_vec(), lines));
    }
    rows
}

/// A path as `fast-import` reads any path.
fn quoted(path: &[u8]) -> String {
    let escaped: String = path.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("\"{escaped}\"")
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory);
    // Only what the test says counts: not the user's settings, nor a git command that this runs under.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("LC_ALL", "C");
    command
}

fn git(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = command(directory).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
