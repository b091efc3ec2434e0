//! The git repository that is read: where it is, which commits it has, how long its files are.
//!
//! Git itself does the work, as a child process; nothing is ever written to the repository. The repository is the one
//! named, or the one around the working directory: `GIT_DIR` and its kin in the environment are ignored, since they
//! would silently put another in its place, or count other things in it.
//!
//! Line counts are those of `git diff --numstat <empty tree> <commit>`: an incomplete last line counts, a symbolic link
//! and a submodule count one line each, a binary file none. What is binary is git's decision, and it follows the
//! `.gitattributes` of the *work tree*, as that command does.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::path_text::path_text;
use crate::problem::Problem;

/// Paths given to one git command: enough that commands are few, and far below the system's limit on arguments.
const PATHS_PER_COMMAND: usize = 200;

/// A git repository with at least a readable directory; it may have no commit yet.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// Where git runs: the top of the work tree, or the git directory of a bare repository.
    directory: PathBuf,
    git_directory: PathBuf,
    shallow: bool,
    empty_tree: String,
    /// The user's `diff.ignoreSubmodules`, if it is set: `git diff` heeds it, `git diff-tree` must be told.
    ignore_submodules: Option<String>,
}

impl Repository {
    /// The repository around the working directory.
    pub(crate) fn around() -> Result<Self, Problem> {
        Self::resolve(Path::new("."))
    }

    /// The repository at `path`: its work tree, its git directory, or a bare one.
    ///
    /// Refuses a directory *inside* a work tree: what is stored belongs to the whole repository, and a mistyped path
    /// should not end in the one around it.
    pub(crate) fn at(path: &Path) -> Result<Self, Problem> {
        let advice = "Name the directory of a git repository, or run without one inside a repository";
        let named = match std::fs::read_dir(path).and_then(|_| path.canonicalize()) {
            Ok(named) => named,
            Err(error) => return Err(Problem::new(format!("Cannot read {}: {error}", path.display()), advice)),
        };
        let found = Self::resolve(&named)?;
        if same_place(&found.directory, &named) || same_place(&found.git_directory, &named) {
            return Ok(found);
        }
        Err(Problem::new(
            format!("{} is not a git repository, but lies inside the one at {}", path.display(), found.name()),
            "Name that directory if it is the one you mean",
        ))
    }

    fn resolve(path: &Path) -> Result<Self, Problem> {
        let git_directory = path_of(line(ask(path, &["rev-parse", "--absolute-git-dir"])?));
        let in_work_tree = ask(path, &["rev-parse", "--is-inside-work-tree"])? == b"true\n";
        let directory = match in_work_tree {
            true => path_of(line(ask(path, &["rev-parse", "--show-toplevel"])?)),
            false => git_directory.clone(),
        };
        let shallow = ask(path, &["rev-parse", "--is-shallow-repository"])? == b"true\n";
        let empty_tree = text(line(ask(path, &["hash-object", "-t", "tree", "--stdin"])?));
        let mut setting = git(path);
        setting.args(["config", "--get", "diff.ignoreSubmodules"]);
        let setting = setting.output().map_err(cannot_run)?;
        let ignore_submodules = setting.status.success().then(|| text(line(setting.stdout)));
        Ok(Self { directory, git_directory, shallow, empty_tree, ignore_submodules })
    }

    /// The directory of git's own files: the one place in a repository where a program may keep something.
    pub(crate) fn git_directory(&self) -> &Path {
        &self.git_directory
    }

    /// Whether older commits exist that are not here: commit 0 is then the oldest one that is.
    pub(crate) fn is_shallow(&self) -> bool {
        self.shallow
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> String {
        self.directory.display().to_string()
    }

    /// The ids of the first-parent history of `HEAD`, oldest first. There is at least one.
    pub(crate) fn commits(&self) -> Result<Vec<String>, Problem> {
        let head = self.head()?.ok_or_else(|| {
            Problem::new(format!("The repository {} has no commit yet", self.name()), "Commit something and run again")
        })?;
        let listed = ask(&self.directory, &["rev-list", "--first-parent", "--reverse", &head, "--"])?;
        let ids: Vec<String> = text(listed).lines().map(str::to_owned).collect();
        if ids.is_empty() { Err(not_understood(b"")) } else { Ok(ids) }
    }

    /// The id of the commit that `HEAD` stands at, on a branch or detached; `None` before the first commit.
    pub(crate) fn head(&self) -> Result<Option<String>, Problem> {
        let mut command = git(&self.directory);
        let output =
            command.args(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).output().map_err(cannot_run)?;
        match output.status.code() {
            Some(0) => Ok(Some(text(line(output.stdout)))),
            // Quiet and 1: there is no such commit. Anything else is said on standard error.
            Some(1) if output.stderr.is_empty() => Ok(None),
            _ => Err(refused(&self.directory, &output.stderr)),
        }
    }

    /// The line count of every file of a commit.
    pub(crate) fn line_counts(&self, commit: &str) -> Result<HashMap<String, u64>, Problem> {
        self.line_counts_among(commit, &[])
    }

    /// The line counts of those `paths` that the commit has.
    pub(crate) fn line_counts_of(&self, commit: &str, paths: &[Vec<u8>]) -> Result<HashMap<String, u64>, Problem> {
        let mut counts = HashMap::with_capacity(paths.len());
        for some in paths.chunks(PATHS_PER_COMMAND) {
            counts.extend(self.line_counts_among(commit, some)?);
        }
        Ok(counts)
    }

    /// As [`Repository::line_counts_of`], in one command; no paths are all paths.
    fn line_counts_among(&self, commit: &str, paths: &[Vec<u8>]) -> Result<HashMap<String, u64>, Problem> {
        let mut command = self.diff_tree();
        command.args(["--numstat", "-z", &self.empty_tree, commit, "--"]);
        for path in paths {
            command.arg(argument(path)?);
        }
        let output = finish(command, &self.directory)?;
        let mut counts = HashMap::new();
        for record in output.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
            let stat = NumStat::parse(record).ok_or_else(|| not_understood(record))?;
            counts.insert(path_text(stat.path), stat.counts.map_or(0, |counts| counts.added));
        }
        Ok(counts)
    }

    /// A command that reads commits from standard input, one in a line with the parent to compare it with behind it, and
    /// prints for each: its id, the changed entries, and how many lines the change added to and took from each.
    pub(crate) fn changes_command(&self) -> Command {
        let mut command = self.diff_tree();
        command.args(["--stdin", "--always", "--root", "--raw", "--numstat", "--no-abbrev", "-z"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `git diff-tree`, which is to `git diff` what a script needs, made to see what `git diff` sees.
    fn diff_tree(&self) -> Command {
        let mut command = git(&self.directory);
        command.args(["diff-tree", "-r", "--no-renames", "--no-relative"]);
        if let Some(which) = &self.ignore_submodules {
            command.arg(format!("--ignore-submodules={which}"));
        }
        // Where an attributes file is missing from the work tree, `git diff-tree` would take that of the index and
        // `git diff` of two trees does not. A name that no file has stands for an empty index.
        command.env("GIT_INDEX_FILE", self.git_directory.join("timely-persist.no-index"));
        command
    }

    /// The problem that git's own words describe.
    pub(crate) fn refused(&self, stderr: &[u8]) -> Problem {
        refused(&self.directory, stderr)
    }
}

/// One record of `--numstat -z`.
pub(crate) struct NumStat<'a> {
    pub(crate) path: &'a [u8],
    /// `None` if either side is binary.
    pub(crate) counts: Option<LineCounts>,
}

/// Lines that a change added and took away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineCounts {
    pub(crate) added: u64,
    pub(crate) deleted: u64,
}

impl<'a> NumStat<'a> {
    /// `<added> TAB <deleted> TAB <path>`, where both counts of a binary file are `-`.
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let mut fields = record.splitn(3, |byte| *byte == b'\t');
        let (added, deleted, path) = (fields.next()?, fields.next()?, fields.next()?);
        if added == b"-" && deleted == b"-" {
            return Some(Self { path, counts: None });
        }
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
        Some(Self { path, counts: Some(LineCounts { added: number(added)?, deleted: number(deleted)? }) })
    }
}

/// Git said something that this program does not know how to read.
pub(crate) fn not_understood(record: &[u8]) -> Problem {
    Problem::new(
        format!("git printed something unexpected: {}", String::from_utf8_lossy(record).escape_debug()),
        "This program was written against git 2.47; please report your version of git with this message",
    )
}

/// Git could not be started.
pub(crate) fn cannot_run(error: std::io::Error) -> Problem {
    Problem::new(format!("Cannot run git: {error}"), "Install git and see that it is on the PATH")
}

/// What git's environment may say that would put another repository in the place of this one, or make it count other
/// things: what `git rev-parse --local-env-vars` lists (a test compares), how paths are understood, and how files are.
const ELSEWHERE: [&str; 23] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX", // of older versions
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_ATTR_SOURCE",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
];

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).stdin(Stdio::null());
    for variable in ELSEWHERE {
        command.env_remove(variable);
    }
    // Messages in the one language that is searched for below; no refreshed index; names are names, not patterns.
    command.env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0").env("GIT_LITERAL_PATHSPECS", "1");
    command
}

fn ask(directory: &Path, arguments: &[&str]) -> Result<Vec<u8>, Problem> {
    let mut command = git(directory);
    command.args(arguments);
    finish(command, directory)
}

fn finish(mut command: Command, directory: &Path) -> Result<Vec<u8>, Problem> {
    let output = command.output().map_err(cannot_run)?;
    if output.status.success() { Ok(output.stdout) } else { Err(refused(directory, &output.stderr)) }
}

fn refused(directory: &Path, stderr: &[u8]) -> Problem {
    let words = String::from_utf8_lossy(stderr);
    let place = match directory.canonicalize() {
        Ok(place) => place.display().to_string(),
        Err(_) => directory.display().to_string(),
    };
    if words.contains("not a git repository") {
        return Problem::new(
            format!("{place} is not in a git repository"),
            "Name the directory of a git repository, or run without one inside a repository",
        );
    }
    let words = match words.trim() {
        "" => "it ended without a word",
        words => words,
    };
    Problem::new(
        format!("git cannot read the repository {place}: {words}"),
        "Run `git fsck` there to see what is wrong. What is missing or damaged there may be had again with \
         `git fetch --refetch`, or from another clone",
    )
}

fn same_place(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// An answer without the end of its line.
fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
    }
    bytes
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(<OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes))
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from(text(bytes)))
}

#[cfg(unix)]
fn argument(path: &[u8]) -> Result<&OsStr, Problem> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(path))
}

#[cfg(not(unix))]
fn argument(path: &[u8]) -> Result<&OsStr, Problem> {
    std::str::from_utf8(path).map(OsStr::new).map_err(|_| not_understood(path))
}
