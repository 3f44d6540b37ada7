//! Text for people.

pub mod numbers;
pub mod visible;
