#!/usr/bin/env python3
"""Checks that the tools for a build are installed, and says what to install.

    scripts/check-tools.py [build | release | check]

`build` (the default) is what `sam build` needs, `release` what `just release` needs, and `check` what
`just release-check` needs. Prints one line for each tool. Needs nothing but Python 3.8.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD, RELEASE, CHECK = "build", "release", "check"
NUMBERS = r"(\d+(?:\.\d+)+)"


def pinned_rust():
    with open(os.path.join(ROOT, "rust-toolchain.toml"), encoding="utf-8") as file:
        return re.search(r'channel = "([0-9.]+)"', file.read()).group(1)


def output_of(*command):
    """Returns what a command prints, or None if it cannot be run."""
    try:
        result = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.decode(errors="replace") if result.returncode == 0 else None


def first_version(text, pattern=NUMBERS):
    found = re.search(pattern, text or "")
    return found.group(1) if found else None


def version_of(*command):
    return first_version(output_of(*command))


def has_target(target):
    """Returns the Rust version if its standard library for a target is installed."""
    directory = (output_of("rustc", "--print", "target-libdir", "--target", target) or "").strip()
    return pinned_rust() if os.path.isdir(directory) else None


def installed_by_cargo(name):
    """Returns the version of a program that cannot print it, "unknown" if Cargo did not install it."""
    path = shutil.which(name)
    if path is None:
        return None
    root = os.path.dirname(os.path.dirname(path))
    listed = output_of("cargo", "install", "--list", "--root", root)
    return first_version(listed, rf"(?m)^{name} v{NUMBERS}") or "unknown"


def package(name):
    """Returns the version of a package of this Python."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def zig():
    """Returns the version of the zig that cargo-lambda finds."""
    return first_version(output_of("cargo", "lambda", "system"), rf"(?m)^ *version: '?{NUMBERS}")


def tools():
    """Returns name, groups, installed version, minimum version and how to install it, for each tool."""
    rust = pinned_rust()
    everything, release, check = (BUILD, RELEASE, CHECK), (RELEASE, CHECK), (CHECK,)
    if not shutil.which("rustup"):
        install_rust = "install rustup (https://rustup.rs)"
    else:
        install_rust = f"rustup toolchain install {rust}"
    if platform.machine() == "aarch64":
        other, libraries = "qemu-x86_64", "libc6-amd64-cross"
    else:
        other, libraries = "qemu-aarch64", "libc6-arm64-cross"
    return [
        # For tomllib.
        ("python", release, first_version(sys.version), "3.11", "install Python 3.11 (https://www.python.org)"),
        ("git", release, version_of("git", "--version"), None, "install git"),
        # rust-toolchain.toml.
        ("rust", everything, version_of("rustc", "--version"), rust, install_rust),
        *(
            (target, groups, has_target(target), None, f"rustup target add {target}")
            for target, groups in (("aarch64-unknown-linux-gnu", everything), ("x86_64-unknown-linux-gnu", release))
        ),
        # Links build scripts. zig compiles the C code of the function.
        ("cc", everything, version_of("cc", "--version"), None, "install a C compiler (gcc or clang)"),
        # In earlier versions `rust-cargolambda` is a beta feature, and `sam build` asks whether to enable it:
        # https://github.com/aws/aws-sam-cli/pull/8526
        ("sam", (BUILD,), version_of("sam", "--version"), "1.156.0", "pip install --upgrade aws-sam-cli"),
        # The earliest version that was tried, with zig 0.13.0 and 0.17.0.
        ("cargo-lambda", everything, version_of("cargo", "lambda", "-V"), "1.8.6", "pip install --upgrade cargo-lambda"),
        # The minimum of cargo-lambda (crates/cargo-lambda-build/src/zig.rs).
        ("zig", everything, zig(), "0.13.0", "pip install --upgrade ziglang"),
        # Earlier versions do not work with zig: https://github.com/rust-secure-code/cargo-auditable/issues/179
        (
            "cargo-auditable",
            release,
            installed_by_cargo("cargo-auditable"),
            "0.7.3",
            "cargo install --locked cargo-auditable",
        ),
        # Earlier versions ignore SOURCE_DATE_EPOCH (its changelog).
        (
            "cargo-cyclonedx",
            release,
            version_of("cargo", "cyclonedx", "--version"),
            "0.5.9",
            "cargo install --locked cargo-cyclonedx",
        ),
        # Packages of this Python: the first expands the template.
        *(
            (name, groups, package(name), None, f"{sys.executable} -m pip install --requirement .ci/requirements.txt")
            for name, groups in (("aws-sam-cli", release), ("cfn-lint", check), ("checkov", check), ("moto", check))
        ),
        # Starts the binary of the other architecture, with a C library for it.
        (other, check, version_of(other, "--version"), None, f"apt-get install qemu-user {libraries}"),
    ]


def is_at_least(version, minimum):
    # The build checks what a program of unknown version has made.
    return version == "unknown" or [int(n) for n in version.split(".")] >= [int(n) for n in minimum.split(".")]


def main():
    group = sys.argv[1] if len(sys.argv) > 1 else BUILD
    if group not in (BUILD, RELEASE, CHECK):
        sys.exit(__doc__)
    complete = True
    for name, groups, version, minimum, install in tools():
        if group not in groups:
            continue
        if version is None:
            verdict = f"MISSING: {install}"
        elif minimum is not None and not is_at_least(version, minimum):
            verdict = f"TOO OLD: {install}"
        else:
            verdict = "ok"
        complete = complete and verdict == "ok"
        needed = f"needs {minimum}" if minimum else ""
        print(f"{name:<26} {version or '-':<10} {needed:<14} {verdict}")
    sys.exit(0 if complete else 1)


main()
