//! Places of client connections: who gets one, and who gives way (`design/edge.md`).

use super::budget::PeerAccount;
use super::state::EdgeState;
use std::sync::atomic::Ordering;

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The connection's peer has its share.
    Share(usize),
    /// All places that the configuration allows are taken, and none gives way.
    Full(usize),
    /// The process may not open more files, and none gives way.
    Files(usize),
}

/// Finds a place for one more connection of this peer. `limit`: what the configuration allows. True: another one
/// gives way.
pub(super) fn find(edge: &EdgeState, peer: &PeerAccount, limit: usize) -> Result<bool, NoPlace> {
    let files = edge.files.load(Ordering::Relaxed);
    // A tunnel has a second connection, to its upstream.
    let left_by_files = files.saturating_sub(edge.tunnels.load(Ordering::Relaxed));
    let places = limit.min(left_by_files);
    let share = peer.share_of(places);
    if peer.connections.load(Ordering::Relaxed) >= share {
        return Err(NoPlace::Share(share));
    }
    if edge.connections.load(Ordering::Relaxed) < places {
        return Ok(false);
    }
    match edge.open.make_room() {
        true => Ok(true),
        false if left_by_files < limit => Err(NoPlace::Files(files)),
        false => Err(NoPlace::Full(limit)),
    }
}
