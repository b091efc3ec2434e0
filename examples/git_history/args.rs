//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// Counts files and lines per file extension, at any commit of a git repository, by a differential dataflow over a
/// durable shard.
///
/// The first run reads the history of HEAD's first parents into the shard, a later one appends what is new. Exit codes: 0
/// when all went well, 1 with a message where not, 130 if it was interrupted before it was done.
#[derive(Clone, Debug, Parser)]
#[command(name = "git_history", version)]
pub(crate) struct Args {
    /// The repository to read [default: the one around the working directory]
    pub(crate) repository: Option<PathBuf>,

    /// How many timely workers read the shard back
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) workers: NonZeroUsize,

    /// Where the shard lies [default: the directory timely-persist among git's own files]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// The commit to show, counted from 0, the oldest [default: the newest]
    #[arg(long, value_name = "COMMIT_NUMBER")]
    pub(crate) as_of: Option<u64>,

    /// Stay, and print what changes when a commit is added, until Ctrl-C ends it with exit code 0
    #[arg(long, conflicts_with = "as_of")]
    pub(crate) follow: bool,

    /// Keep the table in a shard beside the history, and print it from there: the next run computes what is new, and
    /// nothing if there is nothing new
    #[arg(long)]
    pub(crate) keep: bool,

    /// Print one JSON object instead of a table; with --follow one more for each change
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_and_refusals() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace());
        let args = parse("git_history").unwrap();
        assert_eq!((args.workers.get(), args.as_of, args.follow, args.json), (2, None, false, false));
        assert!(!args.keep && parse("git_history --keep --follow").unwrap().keep);
        let args = parse("git_history /some/where --workers 4 --as-of 7 --json --data d").unwrap();
        assert_eq!((args.workers.get(), args.as_of, args.json), (4, Some(7), true));
        for refused in ["--workers 0", "--as-of -1", "--as-of 1 --follow", "--nonsense", "one two"] {
            assert!(parse(&format!("git_history {refused}")).is_err(), "{refused}");
        }
    }
}
