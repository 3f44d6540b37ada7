//! Log lines: one JSON object each, with the keys that Lambda's JSON format requires.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

/// Writes `tracing` events to standard output as the environment configures it.
///
/// `AWS_LAMBDA_LOG_LEVEL` sets the minimum level (default `INFO`); `AWS_LAMBDA_LOG_FORMAT=Text`
/// selects plain lines instead of JSON (AWS Lambda Developer Guide, "Configuring advanced logging controls
/// for Lambda functions"). The runtime library's own subscriber prints no timestamp, without which
/// Lambda files every line as INFO.
pub fn init(lookup: impl Fn(&str) -> Option<String>) {
    let level = match lookup("AWS_LAMBDA_LOG_LEVEL") {
        Some(level) if level.eq_ignore_ascii_case("fatal") => "error".to_owned(),
        Some(level) => level,
        None => "info".to_owned(),
    };
    // Libraries log at WARN and above only.
    let filter = EnvFilter::builder().parse_lossy(format!("warn,pca_revocation_watch={level}"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(UtcTime::rfc_3339())
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stdout);
    // Tests call this more than once; the first subscriber stays.
    let _ = if lookup("AWS_LAMBDA_LOG_FORMAT").is_some_and(|f| f.eq_ignore_ascii_case("text")) {
        subscriber.try_init()
    } else {
        subscriber
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    };
}
