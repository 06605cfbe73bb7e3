//! What is shared: the snapshot cell, and the store of what must survive.

pub mod cell;
pub mod directory;
pub mod snapshot;
pub mod store;

pub use cell::{Publisher, Reader};
pub use directory::Directory;
pub use snapshot::{EndpointView, EntryView, ServiceView, Snapshot};
pub use store::{Memory, Store, StoreError};
