//! The source's protocol: the files of the operator themselves, without those that know a dataflow.

#[path = "../../../operators/src/source/closures.rs"]
pub(crate) mod closures;
#[path = "../../../operators/src/source/fetch.rs"]
pub(crate) mod fetch;
#[path = "../../../operators/src/source/handout.rs"]
pub(crate) mod handout;
#[path = "../../../operators/src/source/message.rs"]
pub(crate) mod message;
#[path = "../../../operators/src/source/settings.rs"]
pub(crate) mod settings;
#[path = "../../../operators/src/source/steps.rs"]
pub(crate) mod steps;
