//! Names of metrics, the log, trace context, and the wall clock.

pub mod clock;
pub mod log;
pub mod names;
pub mod trace;
