//! A test that goes on in a process of its own, as a user who is bound by limits.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};

/// In the environment of such a process: the directory that it may write to.
const DIRECTORY: &str = "TIMELY_PERSIST_TEST_DIRECTORY";

/// Users that nobody is: each process is another, so that its threads are the only ones that count against its limit.
const USERS_FROM: u32 = 900_000;

/// Calls `test`, the whole of the test of this name, in a process of its own, with an empty directory.
///
/// The superuser is bound by no limit of threads, so for that one the process is another user's.
pub fn alone(name: &str, test: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return test(Path::new(&directory));
    }
    let everybody = std::fs::Permissions::from_mode(0o777);
    let scratch = tempfile::Builder::new().permissions(everybody.clone()).tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), everybody).unwrap(); // what the umask took
    // The folders that lead to this program may be closed to others.
    let program = scratch.path().join("program");
    let this = std::env::current_exe().unwrap();
    std::fs::hard_link(&this, &program).or_else(|_| std::fs::copy(&this, &program).map(drop)).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).current_dir(scratch.path());
    command.env(DIRECTORY, scratch.path().join("data")).stdin(Stdio::null());
    if getuid().is_root() {
        command.uid(USERS_FROM + std::process::id());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The threads that this process's user has.
pub fn threads_of_user() -> u64 {
    let user = getuid().as_raw().to_string();
    let of_process = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).ok()?; // it may have ended
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next();
        (field("Uid:")? == user).then(|| field("Threads:")?.parse::<u64>().ok())?
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| of_process(entry.ok()?.path()));
    processes.sum()
}

/// Lets the system give this user no thread beyond so many.
pub fn allow_threads(most: u64) {
    let maximum = getrlimit(Resource::Nproc).maximum;
    setrlimit(Resource::Nproc, Rlimit { current: Some(most), maximum }).unwrap();
    let another = std::thread::Builder::new().spawn(|| ());
    assert!(another.is_err() || most > 1, "the limit does not bind");
}

/// As many as there may be.
pub fn allow_all_threads() {
    let maximum = getrlimit(Resource::Nproc).maximum;
    setrlimit(Resource::Nproc, Rlimit { current: maximum, maximum }).unwrap();
}
