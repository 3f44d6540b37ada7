//! The formats of a message.

pub mod chat_card;
pub mod email;
pub mod headline;
pub mod json;
pub mod sms;
