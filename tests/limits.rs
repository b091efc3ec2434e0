//! Limits: each has a range and a row on the page of bounds, what is in the range works, and those that all processes must
//! have alike are the store's.
#![allow(clippy::unwrap_used)]

#[path = "limits/agreement.rs"]
mod agreement;
#[path = "limits/changes.rs"]
mod changes;
#[path = "limits/extremes.rs"]
mod extremes;
#[path = "limits/object.rs"]
mod object;
#[path = "limits/page.rs"]
mod page;
#[path = "limits/ranges.rs"]
mod ranges;
#[path = "support/stage.rs"]
mod stage;
#[path = "limits/texts.rs"]
mod texts;
