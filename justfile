# Shortcuts for the commands in the README and CONTRIBUTING.md. https://just.systems

# List the recipes
[private]
default:
    @just --list

# Run the function against the local AWS emulators and print its messages
demo:
    cargo run --example demo

# Run the tests; arguments go to cargo test
test *arguments:
    cargo test {{ arguments }}

# Run every check that CI runs
ci:
    .ci/run

# Check that the tools for a build are installed (or for a release: just tools release)
tools group="build":
    python3 scripts/check-tools.py {{ group }}

# Build a release into target/dist (--bucket NAME[/PREFIX]: write the zip file's location into the template)
release *arguments:
    python3 scripts/release.py build {{ arguments }}

# Build a release twice, compare the files, and run the checks of a release
release-check:
    python3 scripts/release.py check

# Fuzz one target for some seconds (needs cargo-fuzz; see fuzz/README.md)
fuzz target="json" seconds="60":
    mkdir -p fuzz/corpus/{{ target }}
    RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- \
        -max_total_time={{ seconds }} {{ if path_exists("fuzz" / target + ".dict") == "true" { "-dict=fuzz" / target + ".dict" } else { "" } }}

# Run the benchmarks; arguments go to cargo bench
bench *arguments:
    cargo bench {{ arguments }}

# Render the pictures in the README (needs Chromium)
pictures:
    python3 scripts/render-pictures.py

# Draw the charts in docs/performance.md
charts:
    python3 scripts/render-charts.py
