//! Names of metrics, the log, and the wall clock.

pub mod clock;
pub mod log;
pub mod names;
