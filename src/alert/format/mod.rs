//! The formats of a message: each turns the same content into text.

pub(super) mod chat_card;
pub(super) mod email;
pub(super) mod json;
pub(super) mod sms;
