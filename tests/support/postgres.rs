//! A PostgreSQL server of the test's own, in a temporary directory, gone with the value.
//!
//! It listens on a socket in that directory, not on a port: nobody else can take it between a stop and a start.
//! A server refuses to run as root, so where the test does, the server runs as another user.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub const PASSWORD: &str = "open sesame";

pub struct Server {
    directory: TempDir,
    user: Option<User>,
    /// Where it listens beside its socket, and with which certificate.
    tls: Option<Tls>,
}

/// A server that speaks TLS. Its certificate and key lie in its directory.
struct Tls {
    port: u16,
}

#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Server {
    /// Makes a database cluster and starts its server.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// The same in this directory, which another user must be able to reach if this one is root.
    pub fn start_in(directory: TempDir) -> Self {
        let server = Self::create(directory);
        server.resume();
        server
    }

    /// The same for a server that also listens on a port of 127.0.0.1, with this certificate and its key, in PEM form.
    #[allow(dead_code)] // not every test needs one
    pub fn start_with_tls(certificate: &str, key: &str) -> Self {
        let mut server = Self::create(tempfile::tempdir().unwrap());
        for (name, contents) in [("server.crt", certificate), ("server.key", key)] {
            let path = server.directory.path().join(name);
            std::fs::write(&path, contents).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            if let Some(user) = server.user {
                chown(&path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        // Somebody else may take the port before the server does: then another.
        for _ in 0..10 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.tls = Some(Tls { port });
            if server.try_resume().status.success() {
                return server;
            }
        }
        panic!("no server starts: {}", std::fs::read_to_string(server.directory.path().join("log")).unwrap());
    }

    fn create(directory: TempDir) -> Self {
        // Before there is anything to be stopped, which takes the same programs.
        for program in ["initdb", "pg_ctl"] {
            find(program);
        }
        let user = other_user();
        if let Some(user) = user {
            chown(directory.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let server = Self { directory, user, tls: None };
        let password = server.directory.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        let data = server.data();
        server.run("initdb", |command| {
            command.args(["-U", "tester", "-A", "scram-sha-256", "--no-sync", "--no-instructions", "-D"]).arg(&data);
            command.arg("--pwfile").arg(&password)
        });
        server
    }

    /// Where it is over TCP, by this name of the host, password included.
    #[allow(dead_code)] // not every test needs one
    pub fn url_of_port(&self, host: &str) -> String {
        let port = self.tls.as_ref().unwrap().port;
        format!("postgres://tester:{}@{host}:{port}/postgres", PASSWORD.replace(' ', "%20"))
    }

    /// Where its files are.
    #[allow(dead_code)] // not every test needs one
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it is, password included.
    pub fn url(&self) -> String {
        self.url_as("tester", PASSWORD, "postgres")
    }

    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        let socket = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://{user}:{}@{socket}/{database}", password.replace(' ', "%20"))
    }

    /// Starts the server again, and waits until it answers.
    pub fn resume(&self) {
        let output = self.try_resume();
        assert!(output.status.success(), "pg_ctl: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn try_resume(&self) -> Output {
        let (log, folder) = (self.directory.path().join("log"), self.directory.path().display());
        let options = match &self.tls {
            None => format!("-k {folder} -c listen_addresses="),
            Some(Tls { port }) => format!(
                "-k {folder} -c listen_addresses=127.0.0.1 -p {port} -c ssl=on -c ssl_cert_file={folder}/server.crt \
                 -c ssl_key_file={folder}/server.key"
            ),
        };
        let data = self.data();
        self.output("pg_ctl", |command| {
            command.args(["start", "-w", "-o", &options, "-l"]).arg(&log).arg("-D").arg(&data)
        })
    }

    /// Kills it as a power cut would, without warning.
    pub fn kill(&self) {
        let data = self.data();
        self.run("pg_ctl", |command| command.args(["stop", "-w", "-m", "immediate", "-D"]).arg(&data));
    }

    /// Stops it in good order, which sessions need not wait for.
    #[allow(dead_code)] // not every test needs it
    pub fn stop(&self) {
        let data = self.data();
        self.run("pg_ctl", |command| command.args(["stop", "-w", "-m", "fast", "-D"]).arg(&data));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs a program of the server's, which must succeed.
    pub fn run<'a>(&self, program: &str, arguments: impl FnOnce(&'a mut Command) -> &'a mut Command) {
        let output = self.output(program, arguments);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn output<'a>(&self, program: &str, arguments: impl FnOnce(&'a mut Command) -> &'a mut Command) -> Output {
        use std::os::unix::process::CommandExt;
        // Leaked: a few words per test process, and the closure may borrow it as long as it likes.
        let command = Box::leak(Box::new(Command::new(find(program))));
        command.current_dir(self.directory.path());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        // To files, not pipes: the server inherits them and would keep a pipe open.
        let errors = self.directory.path().join("errors");
        command.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(&errors).unwrap());
        let mut output = arguments(command).output().unwrap();
        output.stderr = std::fs::read(&errors).unwrap();
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.data();
        self.output("pg_ctl", |command| command.args(["stop", "-w", "-m", "immediate", "-D"]).arg(&data));
    }
}

fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(program));
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin").join(program)).collect())
        .unwrap_or_default();
    versions.sort();
    on_path
        .chain(versions.into_iter().rev())
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("no {program} here; install it with: apt-get install -y postgresql"))
}

/// Another user, if this one is root.
fn other_user() -> Option<User> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if !Path::new("/proc").exists() || id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name| Some(User { uid: id(&["-u", name])?, gid: id(&["-g", name])? });
    Some(of("postgres").or_else(|| of("nobody")).expect("a user that is not root"))
}
