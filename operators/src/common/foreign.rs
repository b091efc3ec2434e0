//! Calls of code that is not the library's own: a panic of it is a value, and costs no worker its life.
//!
//! Always: code that panicked is not called again. What it had begun to make is dropped.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;
use timely_persist::{Error, ShardId};

/// Whose code, as a message names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str);

/// What the shard's types bring along, which the library calls.
pub(crate) const TYPES: Code = Code("the code that reads the shard, or that of its types (a codec, say),");

/// What a panic left.
#[derive(Debug)]
pub(crate) struct Panicked {
    code: Code,
    message: String,
}

impl Panicked {
    /// What was caught while this code ran.
    pub(crate) fn with(code: Code, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self { code, message: text.unwrap_or("it gave no message").to_owned() }
    }

    /// The error that a source says then.
    pub(crate) fn of_shard(self, shard: ShardId) -> Error {
        let Self { code, message } = self;
        let message = format!("{} panicked: {message}; correct it and build the source again", code.0);
        Error::invalid(message).of_shard(shard)
    }
}

/// Calls it.
pub(crate) fn call<R>(code: Code, function: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|panic| Panicked::with(code, &*panic))
}

/// Waits for it.
pub(crate) async fn finish<R>(code: Code, future: impl Future<Output = R>) -> Result<R, Panicked> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(|panic| Panicked::with(code, &*panic))
}

#[cfg(test)]
mod tests {
    use timely_persist::ErrorKind;

    use super::*;

    #[test]
    fn the_error_says_which_code_panicked_and_what_it_said() {
        let shard = ShardId::from_u128(1);
        let text = call(Code("the source's `filter`"), || panic!("out of range"))
            .map(|(): ()| ())
            .unwrap_err()
            .of_shard(shard);
        assert_eq!((text.kind(), text.shard()), (ErrorKind::Invalid, Some(shard)));
        assert!(text.to_string().contains("the source's `filter` panicked: out of range;"), "{text}");
        let number = 7;
        let formatted =
            call(Code("the source's `map`"), || panic!("row {number}")).map(|(): ()| ()).unwrap_err().of_shard(shard);
        assert!(formatted.to_string().contains("the source's `map` panicked: row 7;"), "{formatted}");
        let other = call(TYPES, || std::panic::panic_any(7)).map(|(): ()| ()).unwrap_err().of_shard(shard);
        assert!(other.to_string().contains("panicked: it gave no message;"), "{other}");
        assert_eq!(call(TYPES, || 7).map_err(|_| ()), Ok(7));
    }
}
