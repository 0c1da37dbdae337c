//! Crashes, clocks, disks and pauses.

pub mod crash;
pub mod ledger_time;
pub mod pauses;
pub mod points;
pub mod power_loss;
pub mod reloads;
pub mod settlements;
pub mod store_failure;
pub mod store_trouble;
pub mod wall_clock;
