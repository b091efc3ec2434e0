//! The process of version 1, as version 2 sees it: by what it says.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use timely_persist::ShardId;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Outcome;
use crate::say::say;

/// How long it may be silent, also on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// It ends with this value.
pub(crate) struct Neighbour {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// It ends when this is closed.
    _pipe: Option<ChildStdin>,
}

impl Neighbour {
    pub(crate) fn start(directory: &Path, shard: ShardId) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("v1").arg(directory).arg(shard.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let output = process.stdout.take().ok_or("version 1 has no output")?;
        Ok(Self { _pipe: process.stdin.take(), lines: BufReader::new(output).lines(), process })
    }

    /// Passes on what it says next, which must begin so and have this in it.
    pub(crate) async fn says(&mut self, begin: &str, rest: &str) -> Outcome<()> {
        let line = self.line().await?.ok_or("version 1 has ended")?;
        say(format_args!("v1  {line}"))?;
        if line.starts_with(begin) && line.contains(rest) {
            return Ok(());
        }
        Err(format!("version 1 says {line:?}, and should say: {begin} … {rest}").into())
    }

    /// Passes on what it still says, until it ends.
    pub(crate) async fn ends(mut self) -> Outcome<()> {
        while let Some(line) = self.line().await? {
            say(format_args!("v1  {line}"))?;
        }
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("version 1 ended with {status}").into()) }
    }

    async fn line(&mut self) -> Outcome<Option<String>> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        Ok(line.map_err(|_| format!("version 1 has said nothing for {PATIENCE:?}"))??)
    }
}
