//! Alerts in every format: what they say, whatever subjects contain and however many there are.

mod findings;
mod hostile;
mod messages;
mod properties;
mod routing;
mod support;
mod watch;
