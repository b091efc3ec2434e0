//! What the operators share that read or write shards: how they are stopped, how they agree, how they hear of tasks, and
//! what they say when something is wrong. It knows none of them.

pub(crate) mod agreement;
pub(crate) mod button;
pub(crate) mod credit;
pub(crate) mod end;
pub(crate) mod error;
pub(crate) mod foreign;
pub(crate) mod frontier;
pub(crate) mod inputs;
pub(crate) mod mailbox;
pub(crate) mod placement;
#[cfg(test)]
pub(crate) mod random;
pub(crate) mod wake;
