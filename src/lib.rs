//! paircached: memcached for two machines.
//!
//! Layers, each knowing only those below it:
//! `daemon` > `config` > `server`, `replication::link` > `command` > `replication` > `protocol` > `store`.

pub mod config;
