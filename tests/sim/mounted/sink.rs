//! The sink's protocol and its tasks: the files of the operator themselves, without those that know a dataflow.

#[path = "../../../operators/src/sink/error.rs"]
pub(crate) mod error;
#[path = "../../../operators/src/sink/gather.rs"]
pub(crate) mod gather;
#[path = "../../../operators/src/sink/kept.rs"]
pub(crate) mod kept;
#[path = "../../../operators/src/sink/lead.rs"]
pub(crate) mod lead;
#[path = "../../../operators/src/sink/message.rs"]
pub(crate) mod message;
#[path = "../../../operators/src/sink/pile.rs"]
pub(crate) mod pile;
#[path = "../../../operators/src/sink/settings.rs"]
pub(crate) mod settings;
#[path = "../../../operators/src/sink/staging.rs"]
pub(crate) mod staging;
#[path = "../../../operators/src/sink/standby.rs"]
pub(crate) mod standby;
#[path = "../../../operators/src/sink/writing.rs"]
pub(crate) mod writing;
