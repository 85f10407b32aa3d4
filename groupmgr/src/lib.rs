//! The group manager: what makes servers that share a key one failover group.

pub mod announce;
pub mod entropy;
pub mod directory;
pub mod placement;
pub mod reach;
pub mod topology;
