//! The threads of a client.

use super::check::{THREADS_MAX, group};

group! {
    /// How many threads a client has. They mean nothing where the runtime is the caller's.
    #[derive(Copy)]
    ThreadsConfig at "config.threads" {
        /// Threads of the client's own runtime, which does all storage work. Default 2: one can decode while one waits.
        work: usize = 2, 1..=THREADS_MAX;
        /// Threads that compact, for the whole client. Default 1.
        upkeep: usize = 1, 1..=THREADS_MAX;
        /// Threads that each of the client's three runtimes (work, upkeep, pulse) may have beside those, for what blocks:
        /// reading and writing files, sorting and encoding. Default 128: as many requests as a disk or a file server takes
        /// at once. One is there from the beginning; a thread that was needed once stays until the client ends, so that
        /// there is always one, also when the system gives no more.
        blocking_max: usize = 128, 1..=THREADS_MAX;
    }
}
