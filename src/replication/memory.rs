//! What a node knows of its peer from one link to the next.

use super::durability::{Durability, Reached};
use super::hello::Hello;
use crate::store::{Now, Store, Version};
use std::collections::VecDeque;

/// Who this node is, and whom it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The incarnation up to which it holds what that had and was told; 0 if it had no peer.
    pub incarnation: u64,
    /// The incarnation of the peer that it last heard; 0 if none.
    pub peer: u64,
    /// That one had acknowledged everything.
    pub acknowledged: bool,
}

/// What a node that has its data from a file knows of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Who saved it.
    pub lineage: Lineage,
    /// Nothing in it is newer.
    pub newest: Version,
    /// The peer has heard of a later incarnation than the one that saved it: what this node did
    /// then, and what it was told, is not in it, and is forgotten where it was acknowledged.
    pub stale: bool,
}

/// What is kept from one link to the next.
#[derive(Debug, Default)]
pub struct Memory {
    /// The peer's last incarnation; 0 if there was none.
    pub peer_incarnation: u64,
    /// The one before that; 0 if there was none.
    pub peer_before: u64,
    /// The data is from a file that the peer has not vouched for.
    pub restored: Option<Restored>,
    /// The last batch of it that was applied here.
    pub applied_batch: u64,
    /// The last batch sent to it.
    pub(super) sent_batch: u64,
    /// What is in flight: what becomes known when a batch is acknowledged.
    pub(super) in_flight: VecDeque<InFlight>,
    /// Changes in flight.
    pub(super) in_flight_ops: u64,
    /// Bytes in flight.
    pub(super) in_flight_bytes: u64,
    /// Nothing was on its way when the last link ended.
    pub(super) drained: bool,
    /// This node has once been given everything the peer had.
    pub filled: bool,
}

/// A batch that the peer has not acknowledged.
#[derive(Debug)]
pub(super) struct InFlight {
    pub batch: u64,
    pub bytes: u64,
    pub ops: u64,
    pub sent_at: Now,
    /// Up to where the peer holds each of these shards once it has this batch.
    pub reached: Vec<(usize, Version)>,
    /// What clients may be told once the peer has this batch.
    pub confirms: Vec<Reached>,
}

impl Restored {
    /// Whether the peer knows a later incarnation than that of the file. If it knows none, the file
    /// is all there is.
    pub(super) fn is_stale(&self, ours: &Hello, peer: &Hello) -> bool {
        // It may have heard of this incarnation by a connection that failed here.
        let last = match peer.seen_incarnation == ours.incarnation {
            true => peer.seen_before,
            false => Some(peer.seen_incarnation),
        };
        self.stale || last.is_none_or(|last| last > self.lineage.incarnation)
    }
}

impl Memory {
    /// That of a node that has its data from a file.
    pub fn restored(restored: Restored) -> Memory {
        let peer_incarnation = restored.lineage.peer;
        Memory { peer_incarnation, restored: Some(restored), ..Memory::default() }
    }

    /// Who a node of this incarnation is to whoever brings back what it has; `acknowledged` is whether
    /// the peer has all of it.
    pub fn lineage(&self, incarnation: u64, acknowledged: bool) -> Lineage {
        // What is from a file is that of whoever saved it until the peer has vouched for it: this
        // incarnation never had what the peer told a later one.
        let incarnation =
            self.restored.map_or(incarnation, |restored| restored.lineage.incarnation);
        Lineage { incarnation, peer: self.peer_incarnation, acknowledged }
    }

    pub(super) fn send(&mut self, flight: InFlight) {
        self.sent_batch = flight.batch;
        self.in_flight_bytes += flight.bytes;
        self.in_flight_ops += flight.ops;
        self.in_flight.push_back(flight);
    }

    /// The peer has applied everything up to `batch`.
    pub(super) fn acknowledge(
        &mut self,
        store: &Store,
        durability: Option<&Durability>,
        batch: u64,
    ) {
        if let Some(durability) = durability {
            let arrived = self.in_flight.iter().take_while(|flight| flight.batch <= batch);
            durability.reached(arrived.flat_map(|flight| flight.confirms.iter().copied()));
        }
        while self.in_flight.front().is_some_and(|flight| flight.batch <= batch) {
            let Some(flight) = self.in_flight.pop_front() else {
                return;
            };
            self.in_flight_bytes -= flight.bytes;
            self.in_flight_ops -= flight.ops;
            for (shard, version) in flight.reached {
                store.acknowledge(shard, version);
            }
        }
    }

    /// What is in flight proves nothing any more.
    pub(super) fn forget_reached(&mut self) {
        for flight in &mut self.in_flight {
            flight.reached.clear();
            flight.confirms.clear();
        }
    }

    /// What was in flight on a connection that is gone is sent again by the walk.
    pub(super) fn forget_flight(&mut self) {
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.in_flight_ops = 0;
    }
}
