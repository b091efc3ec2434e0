//! What of the operators' `common` the source's and the sink's protocol need: the files themselves, none of which knows a
//! dataflow.

#[path = "../../../operators/src/common/agreement.rs"]
pub(crate) mod agreement;
#[path = "../../../operators/src/common/credit.rs"]
pub(crate) mod credit;
#[path = "../../../operators/src/common/end.rs"]
pub(crate) mod end;
#[path = "../../../operators/src/common/error.rs"]
pub(crate) mod error;
#[path = "../../../operators/src/common/foreign.rs"]
pub(crate) mod foreign;
#[path = "../../../operators/src/common/frontier.rs"]
pub(crate) mod frontier;
#[path = "../../../operators/src/common/mailbox.rs"]
pub(crate) mod mailbox;
