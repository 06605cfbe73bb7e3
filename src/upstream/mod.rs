//! What talks to an entry: endpoints with their admission, connections, and checks.

mod callers;
mod clients;
mod connect;
pub mod desk;
pub mod endpoint;
pub mod evidence;
mod fine;
pub mod gate;
mod parking;
pub mod probe;
pub mod rehomed;
pub mod roster;
mod socket;
mod stripes;
pub mod tally;
pub mod tools;
pub mod trouble;
pub mod uploads;
pub mod wire;

pub use clients::Client;
pub use desk::Desk;
pub use endpoint::Endpoint;
pub use evidence::{Ended, Watch};
pub use gate::{Gate, Ticket};
pub use stripes::count_apart;
pub use tally::{EntryTally, ServiceTally, StreamGuard, StreamKind};
pub use trouble::{Cause, Trouble};
pub use uploads::{Begun, Lease, UploadTrouble, Uploads};
pub use wire::{Flow, Reply, Wire};
