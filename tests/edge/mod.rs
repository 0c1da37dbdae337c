//! Requests and answers on the wire.

pub mod budget;
pub mod connections;
pub mod framing;
pub mod passing;
pub mod places;
pub mod plain;
pub mod readings;
pub mod strangers;
pub mod targets;
pub mod upgrades;
