//! Text for people.

pub mod visible;
