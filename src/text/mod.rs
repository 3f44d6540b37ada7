//! Text for people.

pub mod defang;
pub mod numbers;
pub mod visible;
