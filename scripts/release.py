#!/usr/bin/env python3
"""Builds a release, and checks that building it again gives the same bytes.

    scripts/release.py build [--bucket NAME[/PREFIX]] [--output DIR] [--allow-dirty]
    scripts/release.py check
    scripts/release.py run COMMAND [ARGUMENT...]

`build` writes target/dist/pca-revocation-watch-VERSION/, or DIR. `check` builds the last commit in two
clones, compares all files, runs the other checks of a release, and leaves the release in target/dist.
`run` runs a command with the compiler settings of a release.
"""

import argparse
import difflib
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import tomllib
import zipfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "pca-revocation-watch"
# Name in Lambda: option of cargo-lambda, name in Rust, machine in the ELF header.
ARCHITECTURES = {
    "arm64": ("--arm64", "aarch64-unknown-linux-gnu", 183),
    "x86_64": ("--x86-64", "x86_64-unknown-linux-gnu", 62),
}
# Of provided.al2023: https://docs.aws.amazon.com/linux/al2023/ug/core-glibc.html
GLIBC = (2, 34)
# Variables that change what the compilers produce.
COMPILER_FLAGS = re.compile("RUSTFLAGS|CFLAGS|CXXFLAGS|CPPFLAGS|^CARGO_PROFILE_")


def target_directory():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


def cargo_home():
    return Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")).resolve()


def run(command, **options):
    """Runs a command in the repository, and exits if it fails."""
    command = [str(argument) for argument in command]
    code = subprocess.run(command, cwd=ROOT, **options).returncode
    if code != 0:
        sys.exit(f"exit code {code}: {' '.join(command)}")


def output_of(*command, **options):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, **options).stdout.strip()


def is_dirty():
    """Returns whether the source may differ from a commit: it has changes, or is no clone of the repository."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True)
    return status.returncode != 0 or bool(status.stdout)


def head():
    return output_of("git", "rev-parse", "HEAD")


def release_version(dirty):
    """Returns the package's version, with the commit unless the commit has the version's tag."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    if dirty:
        return f"{version}-dirty"
    tagged = f"v{version}" in output_of("git", "tag", "--points-at", "HEAD").splitlines()
    return version if tagged else f"{version}-{head()[:12]}"


def compiler_environment(dirty):
    """Returns the environment in which `cargo lambda build` makes the binaries of a release.

    Everything that differs between machines is kept out of the binaries: paths, flags from the
    environment, and the path of cargo-auditable. Cargo hashes that path into the names of symbols, so
    the wrapper is set by name here, the way `cargo auditable` sets it by path.
    """
    environment = {name: value for name, value in os.environ.items() if not COMPILER_FLAGS.search(name)}
    remapped = {ROOT: "/source", cargo_home(): "/cargo", target_directory(): "/target"}
    if any(re.search(r"\s", str(path)) for path in remapped):
        sys.exit(f"a path contains white space, which CARGO_BUILD_RUSTFLAGS cannot express: {list(map(str, remapped))}")
    # Cargo appends the flags of cargo-lambda to these; RUSTFLAGS would replace them.
    flags = [f"--remap-path-prefix={path}={name}" for path, name in remapped.items()]
    environment["CARGO_BUILD_RUSTFLAGS"] = " ".join(flags)
    environment["RUSTC_WORKSPACE_WRAPPER"] = "cargo-auditable"
    arguments = {"offline": False, "locked": True, "frozen": False, "config": []}
    environment["CARGO_AUDITABLE_ORIG_ARGS"] = json.dumps(arguments)
    # Code that is not in the commit must not claim to be.
    environment.pop("PCA_REVOCATION_WATCH_COMMIT", None)
    if not dirty:
        environment["PCA_REVOCATION_WATCH_COMMIT"] = head()
    return environment


def check_tools(group):
    """Prints the tools and returns their versions; exits if one is missing or too old."""
    command = [sys.executable, ROOT / "scripts/check-tools.py", group]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    print(result.stdout, end="", flush=True)
    if result.returncode != 0:
        sys.exit("install what is missing")
    return dict(re.findall(r"^(\S+) +(\d\S*)", result.stdout, re.MULTILINE))


def build_binary(architecture, environment):
    option, *_ = ARCHITECTURES[architecture]
    run(["cargo", "lambda", "build", "--release", "--locked", option, "--bin", "bootstrap"], env=environment)
    binary = (target_directory() / "lambda/bootstrap/bootstrap").read_bytes()
    check_binary(binary, architecture)
    return binary


def section(binary, name):
    """Returns the content of a section of a 64-bit little-endian ELF file, or None."""
    table, size, count, names = struct.unpack_from("<Q10xHHH", binary, 0x28)
    headers = [struct.unpack_from("<II16xQQ", binary, table + i * size) for i in range(count)]
    for offset_of_name, _, offset, length in headers:
        start = headers[names][2] + offset_of_name
        if binary[start : binary.index(b"\0", start)] == name.encode():
            return binary[offset : offset + length]
    return None


def check_binary(binary, architecture):
    """Exits if Lambda could not run the binary, or it lacks its dependency list or names local paths."""
    *_, machine = ARCHITECTURES[architecture]
    if binary[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<H", binary, 18) != (machine,):
        sys.exit(f"the binary for {architecture} is built for another machine")
    versions = {tuple(map(int, match.split(b"."))) for match in re.findall(rb"GLIBC_([0-9.]+)\0", binary)}
    newest = max(versions, default=GLIBC)
    if newest > GLIBC:
        sys.exit(f"the binary for {architecture} needs glibc {newest}, and provided.al2023 has {GLIBC}")
    dependencies = section(binary, ".dep-v0")
    if dependencies is None:
        sys.exit(f"the binary for {architecture} has no dependency list of cargo-auditable")
    packages = json.loads(zlib.decompress(dependencies))["packages"]
    if [package["name"] for package in packages if package.get("root")] != [NAME]:
        sys.exit(f"the dependency list of the binary for {architecture} is not that of {NAME}")
    for path in {ROOT, cargo_home(), target_directory(), Path.home()}:
        at = binary.find(f"{path}/".encode())
        if at >= 0 and len(path.parts) > 1:
            sys.exit(f"the binary for {architecture} contains a local path: {strings_around(binary, at)}")
    print(f"{architecture}: {len(binary):,} bytes, needs glibc {newest[0]}.{newest[1]}, lists {len(packages)} packages", flush=True)


def write_zip(path, binary):
    """Writes the zip file that Lambda gets. Uncompressed: versions of zlib compress differently."""
    info = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    # Made on Unix, regular file, executable by all: Lambda runs it as another user.
    info.create_system = 3
    info.external_attr = 0o100755 << 16
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(info, binary)


def write_sbom(path, version, dirty):
    """Writes the SBOM of what is compiled into the function.

    cargo-cyclonedx also lists crates that only features of the development dependencies need; what
    `cargo tree` does not list is removed.
    """
    targets = [target for _, target, _ in ARCHITECTURES.values()]
    tree = ["cargo", "tree", "--locked", "--package", NAME, "--edges", "normal", "--prefix", "none"]
    listed = output_of(*tree, *(f"--target={target}" for target in targets), "--format", "{p}")
    used = set(re.findall(r"^(\S+) v(\S+)", listed, re.MULTILINE))

    # It writes one file into each package of the workspace.
    file = "sbom-of-release"
    command = ["cargo", "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--no-build-deps"]
    source_date = "0" if dirty else output_of("git", "log", "-1", "--format=%ct")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": source_date}
    try:
        run([*command, "--target", "all", "--override-filename", file], env=environment)
        text = (ROOT / f"{file}.json").read_text(encoding="utf-8")
    finally:
        for manifest in [*ROOT.glob("Cargo.toml"), *ROOT.glob("*/Cargo.toml")]:
            manifest.with_name(f"{file}.json").unlink(missing_ok=True)

    package = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    text = text.replace(f"path+file://{ROOT}#{NAME}@{package}", f"{NAME}@{version}")
    text = text.replace("?download_url=file://.", "")
    if "file://" in text:
        sys.exit("the SBOM contains a local path")
    sbom = json.loads(text)
    sbom["components"] = [part for part in sbom["components"] if (part["name"], part["version"]) in used]
    missing = used - {(part["name"], part["version"]) for part in sbom["components"]} - {(NAME, package)}
    if missing:
        sys.exit(f"the SBOM lacks {sorted(missing)}")
    main = sbom["metadata"]["component"]
    main["version"] = version
    kept = {part["bom-ref"] for part in sbom["components"]} | {main["bom-ref"]}
    sbom["dependencies"] = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in kept]}
        for entry in sbom["dependencies"]
        if entry["ref"] in kept
    ]
    path.write_text(json.dumps(sbom, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def release_notes(version, tools, dirty):
    """Returns the version's section of the changelog, or what is unreleased."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## \[(.+?)\].*\n((?:(?!## \[).*\n?)*)", changelog, re.MULTILINE))
    text = sections.get(version, sections.get("Unreleased", "")).strip()
    if not text:
        sys.exit(f"CHANGELOG.md has no section for {version}")
    builders = ("rust", "cargo-lambda", "zig", "cargo-auditable")
    versions = ", ".join(f"{name} {tools.get(name, '(unknown version)')}" for name in builders)
    source = "source with local changes" if dirty else f"commit {head()}"
    return f"# {NAME} {version}\n\nBuilt from {source}, using {versions}.\n\n{text}\n"


def build(bucket, output, allow_dirty):
    dirty = is_dirty()
    if dirty and not allow_dirty:
        sys.exit("the working tree has changes that are not committed: commit or stash them (git status)")
    version = release_version(dirty)
    output = (output or target_directory() / "dist" / f"{NAME}-{version}").resolve()
    if output.exists() and any(output.iterdir()) and not (output / "SHA256SUMS").exists():
        sys.exit(f"{output} is not empty and not a release")
    tools = check_tools("release")
    environment = compiler_environment(dirty)
    binaries = {architecture: build_binary(architecture, environment) for architecture in ARCHITECTURES}

    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for architecture, binary in binaries.items():
        write_zip(output / f"{NAME}-{version}-{architecture}.zip", binary)
    templates = [sys.executable, "scripts/release_template.py", "--version", version, "--output", output]
    run(templates + (["--bucket", bucket] if bucket else []))
    write_sbom(output / f"{NAME}-{version}.cdx.json", version, dirty)
    (output / "RELEASE_NOTES.md").write_text(release_notes(version, tools, dirty), encoding="utf-8")
    shutil.copyfile(ROOT / "LICENSE", output / "LICENSE")
    files = sorted(output.iterdir())
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (output / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    print_release(output, version, bucket)
    return output


def print_release(output, version, bucket):
    print(f"\n{output}")
    for file in sorted(output.iterdir()):
        print(f"  {file.stat().st_size:>10,}  {file.name}")
    location = (bucket or "BUCKET").removeprefix("s3://").rstrip("/")
    code = "" if bucket else " CodeBucket=BUCKET"
    print(
        "\nTo deploy it, in this folder:\n"
        f"  aws s3 cp {NAME}-{version}-arm64.zip s3://{location}/\n"
        f"  aws cloudformation deploy --stack-name {NAME} --template-file {NAME}.cfn.yaml \\\n"
        f"    --capabilities CAPABILITY_IAM --parameter-overrides NotificationEmail=EMAIL{code}",
        flush=True,
    )


def strings_around(data, at):
    """Returns the printable text next to an offset."""
    return [text.decode() for text in re.findall(rb"[ -~]{6,}", data[max(0, at - 100) : at + 200])]


def differences(name, first, second):
    """Describes how two files differ: by member of a zip file, by line of a text, else by offset."""
    if first == second:
        return []
    if name.endswith(".zip"):
        archives = [zipfile.ZipFile(io.BytesIO(data)) for data in (first, second)]
        members = [{member.filename: archive.read(member) for member in archive.infolist()} for archive in archives]
        found = [
            line
            for member in sorted(members[0].keys() | members[1].keys())
            for line in differences(f"{name}: {member}", members[0].get(member, b""), members[1].get(member, b""))
        ]
        return found or [f"{name}: same members, different metadata"]
    try:
        lines = [data.decode().splitlines() for data in (first, second)]
        return [f"{name}:", *list(difflib.unified_diff(*lines, "first", "second", n=0, lineterm=""))[:20]]
    except UnicodeDecodeError:
        at = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
        return [
            f"{name}: {len(first):,} and {len(second):,} bytes, first difference at {at:#x}",
            *(f"  {order}: {strings_around(data, at)}" for order, data in (("first", first), ("second", second))),
        ]


def compare(first, second):
    """Exits, naming what differs, unless two folders have the same files."""
    names = sorted({file.name for folder in (first, second) for file in folder.iterdir()})
    found = []
    for name in names:
        if not all((folder / name).exists() for folder in (first, second)):
            found.append(f"{name}: in one release only")
            continue
        found += differences(name, (first / name).read_bytes(), (second / name).read_bytes())
    if found:
        sys.exit("\n".join(["the two builds differ:", *found]))
    print(f"all {len(names)} files are the same in both builds")


def build_clone(commit, directory):
    """Builds a commit in a new clone, and removes everything but the release."""
    started = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, directory])
    run(["git", "-C", directory, "checkout", "--quiet", "--detach", commit])
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    run([sys.executable, directory / "scripts/release.py", "build"], env=environment)
    (release,) = (directory / "target/dist").iterdir()
    kept = directory.with_name(f"{directory.name}-release")
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    moved = kept / release.name
    release.rename(moved)
    shutil.rmtree(directory)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    return moved


def check():
    if is_dirty():
        sys.exit("the working tree has changes that are not committed: commit or stash them (git status)")
    check_tools("check")
    directory = target_directory() / "release-check"
    commit = head()
    first = build_clone(commit, directory / "first")
    second = build_clone(commit, directory / "second-in-a-directory-with-a-longer-name")
    compare(first, second)
    release = target_directory() / "dist" / first.name
    shutil.rmtree(release, ignore_errors=True)
    release.parent.mkdir(exist_ok=True)
    first.rename(release)
    shutil.rmtree(directory)
    run([sys.executable, ".ci/check_release_templates.py", release])
    run([sys.executable, ".ci/check_combinations.py", release, "--all"])
    for archive in sorted(release.glob("*.zip")):
        run([sys.executable, ".ci/start_bootstrap.py", archive])
    run([sys.executable, ".ci/rehearse_deployment.py", release])
    print(f"\nall checks passed; the release is in {release}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build a release")
    builder.add_argument("--bucket", metavar="NAME[/PREFIX]", help="where the zip file will be, for new stacks")
    builder.add_argument("--output", type=Path, metavar="DIR", help="the release's folder")
    builder.add_argument("--allow-dirty", action="store_true", help="build uncommitted changes, as VERSION-dirty")
    commands.add_parser("check", help="build twice, compare, and check")
    runner = commands.add_parser("run", help="run a command with the compiler settings of a release")
    runner.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    if arguments.command == "build":
        build(arguments.bucket, arguments.output, arguments.allow_dirty)
    elif arguments.command == "check":
        check()
    else:
        run(arguments.arguments, env=compiler_environment(is_dirty()))


if __name__ == "__main__":
    main()
