//! Runs the function under the Lambda Runtime API.
#![allow(
    clippy::disallowed_methods,
    reason = "reads the environment for `config` and `logging`"
)]

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tracing::info;

use crate::aws::clients::Clients;
use crate::budget::Budget;
use crate::config::Config;
use crate::handler::{Function, Invocation};
use crate::logging;
use crate::version::{COMMIT, VERSION};

/// Reads the environment and serves invocations until the process ends.
///
/// # Errors
/// If the Runtime API cannot be reached. With an invalid configuration, every invocation fails with
/// its problems, where an operator sees them.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let lookup = |name: &str| std::env::var(name).ok();
    logging::init(lookup);
    info!(version = VERSION, commit = COMMIT, "starting");
    let ready = match Config::from_lookup(lookup) {
        Ok(config) => {
            let clients = Clients::from_environment(&config).await;
            Ok((config, clients))
        }
        Err(error) => Err(error),
    };
    let function_name = lookup("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let function = Function::new(ready, function_name);
    lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| {
        let invocation = Invocation {
            request_id: event.context.request_id.clone(),
            function_arn: event.context.invoked_function_arn.clone(),
            budget: Budget::until(event.context.deadline()),
            nonce: format!("{:016x}", fastrand::u64(..)),
        };
        let function = &function;
        // Boxed: the compiler limits the depth of nested futures to 128.
        Box::pin(async move { function.handle(&event.payload, &invocation).await })
    }))
    .await
}
