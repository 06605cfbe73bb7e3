//! The pure core: no sockets, no clocks, no randomness. Time, dice and disk come in as arguments
//! and go out as values, so that a week of operation is a millisecond of test.

pub mod affinity;
pub mod clock;
pub mod decide;
pub mod entry;
pub mod era;
pub mod eviction;
pub mod health;
pub mod judge;
pub mod machine;
pub mod notice;
pub mod outcome;
pub mod plan;
pub mod rehome;
pub mod retry;
pub mod rollout;
pub mod signal;
pub mod skew;
pub mod split;

pub use affinity::{ClientKey, KeySource};
pub use clock::Moment;
pub use decide::{Asked, Choice, Scene, Unseated, Why};
pub use entry::{Entry, PerEntry};
pub use era::{Era, Eras};
pub use eviction::{Departure, Eviction};
pub use health::{Standing, Streak, Thresholds};
pub use notice::{Notice, Occasion};
pub use outcome::{Blame, Outcome};
pub use plan::{Gate, Plan, Step};
pub use retry::Retry;
pub use signal::{Severity, Signal};
pub use split::{Phase, Salt, Share, Split};
