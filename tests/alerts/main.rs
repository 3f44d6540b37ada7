//! Alerts in every format: what they say, whatever subjects contain and however many there are.

mod hostile;
mod messages;
mod properties;
mod routing;
mod support;
mod watch;
