//! What a proxy has to know of the Model Context Protocol. Pure, like `domain`.

pub mod brief;
pub mod endpoint;
pub mod envelope;
pub mod names;
mod plain;
pub mod scan;
pub mod seal;
pub mod sse;
mod token;
pub mod words;

pub use brief::Brief;
pub use envelope::{Envelope, Kind, Wanted, cancelled};
pub use seal::{SealKeys, Secret, SessionPin, StandsFor, TooLong};
