//! What rustdoc says of the crates of a workspace, as JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The version of the JSON that the crate `public-api` of `Cargo.toml` reads, and Rust 1.95 writes.
const FORMAT_VERSION: u64 = 57;

/// A workspace, as Cargo sees it.
pub struct Workspace {
    directory: PathBuf,
    metadata: Value,
}

impl Workspace {
    pub fn of(directory: &Path) -> Self {
        let mut cargo = cargo(directory);
        let metadata = output(cargo.args(["metadata", "--offline", "--no-deps", "--format-version", "1"]));
        Self { directory: directory.to_owned(), metadata: serde_json::from_slice(&metadata).unwrap() }
    }

    /// The packages that have a library.
    pub fn libraries(&self) -> Vec<String> {
        let is_library = |package: &&Value| {
            let targets = package["targets"].as_array().unwrap();
            targets.iter().any(|target| target["kind"].as_array().unwrap().iter().any(|kind| kind == "lib"))
        };
        let packages = self.metadata["packages"].as_array().unwrap().iter().filter(is_library);
        packages.map(|package| package["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Where the JSON is: not where `cargo doc` puts pages, because Cargo removes a crate's pages before it documents the
    /// crate in another way.
    pub fn json_directory(&self) -> PathBuf {
        Path::new(self.metadata["target_directory"].as_str().unwrap()).join("public-api")
    }

    /// Has rustdoc describe a package of this workspace. What it depends on is shared with all other builds.
    pub fn json(&self, package: &str) -> Value {
        let rustdoc = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rustdoc_json.sh");
        let mut cargo = cargo(&self.directory);
        cargo.env("RUSTDOC", rustdoc).env_remove("RUSTDOCFLAGS");
        cargo.env("CARGO_BUILD_BUILD_DIR", self.metadata["build_directory"].as_str().unwrap());
        cargo.args(["rustdoc", "--offline", "--lib", "--all-features", "--package", package, "--target-dir"]);
        cargo.arg(self.json_directory()).args(["--", "-Z", "unstable-options", "--output-format", "json"]);
        output(&mut cargo);
        let path = self.json_directory().join("doc").join(package.replace('-', "_") + ".json");
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let version = json["format_version"].as_u64().unwrap();
        assert_eq!(
            version, FORMAT_VERSION,
            "this toolchain's rustdoc writes version {version} of its JSON, and the crate `public-api` of Cargo.toml reads \
             {FORMAT_VERSION}, which Rust 1.95 writes: run this test with 1.95, or raise both"
        );
        json
    }
}

fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(directory);
    cargo
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("`cargo` is needed, and cannot be run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: it needs Cargo and rustdoc of one toolchain.\n{said}");
    output.stdout
}
