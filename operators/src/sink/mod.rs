//! Sinks: a dataflow that keeps what it computes, and goes on where it was.

mod resume;

pub use self::resume::Resume;
pub use self::resume::held::Input;
pub use self::resume::open::ResumeBuilder;
pub use self::resume::retention::Retention;
