//! What is shared: the snapshot cell, and the store of what must survive.

mod catalogue;
pub mod cell;
pub mod chain;
pub mod directory;
pub mod export;
pub mod pins;
pub mod residents;
pub mod snapshot;
pub mod store;

pub use catalogue::{Catalogue, Turn};
pub use cell::{LocalReader, LocalView, Publisher, Reader};
pub use chain::{Damage, Report};
pub use directory::{Directory, verify_audit};
pub use pins::{Handle, Pin, PinBatch, PinJournal, PinRecord, Pins};
pub use residents::{Resident, ResidentBatch, ResidentJournal, ResidentKey, ResidentRecord, Residents, Traces};
pub use snapshot::{Births, EndpointView, Endpoints, EntryView, ServiceView, Snapshot};
pub use store::{Generation, Memory, RecordForm, RecordText, Saving, Store, StoreError, is_record_id};
