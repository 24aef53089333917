//! The reading side: what people ask of a lake and of what is around it.

pub mod doctor;
pub mod files;
pub mod quarantine;
