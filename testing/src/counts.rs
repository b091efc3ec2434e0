//! What counts have in common: they are sums, and the later minus the earlier is what was counted between.

use std::sync::{Arc, Mutex};

use timely_persist_io::life::lock;

/// Makes a struct of counts, with its difference.
macro_rules! counts {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $field:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$what])* pub $field: u64,)* }

        /// What was counted between two snapshots, the later minus the earlier.
        impl std::ops::Sub for $name {
            type Output = Self;

            fn sub(self, earlier: Self) -> Self {
                Self { $($field: self.$field - earlier.$field,)* }
            }
        }
    };
}

pub(crate) use counts;

/// Counts that clones share.
#[derive(Clone, Debug, Default)]
pub struct Counter<C>(Arc<Mutex<C>>);

impl<C: Copy> Counter<C> {
    pub(crate) fn count<R>(&self, count: impl FnOnce(&mut C) -> R) -> R {
        count(&mut lock(&self.0))
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> C {
        *lock(&self.0)
    }
}
