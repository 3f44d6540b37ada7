//! Writes `docs/messages/` anew: what every kind of subscriber gets, made by the code.
//!
//! `cargo run --example messages`, then look at the differences before committing them. With
//! `-- one email.txt` it prints that file instead.

#[path = "../tests/alert_support/mod.rs"]
mod alert_support;

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages");
    for (scenario, alert) in alert_support::scenarios() {
        for (name, content) in alert_support::files(&alert) {
            if arguments.is_empty() {
                fs::create_dir_all(directory.join(scenario))?;
                fs::write(directory.join(scenario).join(name), content)?;
            } else if arguments[0] == scenario && arguments.get(1).is_none_or(|file| file == name) {
                print!("{content}");
            }
        }
    }
    Ok(())
}
