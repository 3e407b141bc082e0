//! What the fuzz targets do.

pub mod dialogue;
pub mod targets;
