//! Regenerates `docs/messages/`: what each kind of subscriber gets.
//!
//! Run `cargo run --example messages` and review the difference before committing it. With
//! `-- one email.txt` it prints that file instead.

#[path = "../tests/alerts/support.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/messages");
    for (scenario, alert) in support::scenarios() {
        for (name, content) in support::files(&alert) {
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
