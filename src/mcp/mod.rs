//! What a proxy has to know of the Model Context Protocol. Pure, like `domain`.

pub mod brief;
pub mod catalogue;
mod cursor;
pub mod endpoint;
pub mod envelope;
pub mod essentials;
pub mod event_id;
pub mod names;
pub mod request_id;
pub mod retag;
pub mod scan;
pub mod seal;
mod splice;
pub mod sse;
mod token;
pub mod words;

pub use brief::Brief;
pub use catalogue::Catalogue;
pub use envelope::{Envelope, Kind, Wanted, cancelled};
pub use essentials::{Capabilities, Essentials, Mismatch};
pub use event_id::EventTag;
pub use retag::Retag;
pub use seal::{SealKeys, Secret, SessionPin, StandsFor, TooLong};
