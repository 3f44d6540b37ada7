"""Checks that the architecture of a built function matches samconfig.toml and the template.

Usage: check_artifact.py CONFIG_ENV BUILD_DIR
"""

import pathlib
import struct
import sys
import tomllib

from samcli.yamlhelper import yaml_parse

# Values of e_machine in the ELF header.
MACHINES = {62: "x86_64", 183: "arm64"}


def configured(environment):
    """Returns the architecture that samconfig.toml sets for both build and deployment."""
    config = tomllib.loads(pathlib.Path("samconfig.toml").read_text())
    found = set()
    for command in ("build", "deploy"):
        merged = {
            **config[environment].get("global", {}).get("parameters", {}),
            **config[environment].get(command, {}).get("parameters", {}),
        }
        overrides = dict(pair.split("=", 1) for pair in merged["parameter_overrides"].split())
        found.add(overrides["Architecture"])
    if len(found) != 1:
        sys.exit(f"samconfig.toml builds and deploys [{environment}] for different architectures: {found}")
    return found.pop()


def main(environment, build_dir):
    built = pathlib.Path(build_dir)
    template = yaml_parse((built / "template.yaml").read_text())
    function = template["Resources"]["WatchFunction"]["Properties"]
    if function["Architectures"] != [{"Ref": "Architecture"}]:
        sys.exit(f"the function does not use the Architecture parameter: {function['Architectures']}")
    default = template["Parameters"]["Architecture"]["Default"]
    if default != configured("default"):
        sys.exit(f"the template defaults to {default}, samconfig.toml to {configured('default')}")

    artifact = built / "WatchFunction" / function["Handler"]
    header = artifact.read_bytes()[:20]
    if header[:4] != b"\x7fELF":
        sys.exit(f"{artifact} is not an ELF file")
    (code,) = struct.unpack_from("<H", header, 18)
    machine = MACHINES.get(code, f"machine {code}")
    expected = configured(environment)
    if machine != expected:
        sys.exit(f"{artifact} is built for {machine}; samconfig.toml's [{environment}] deploys it as {expected}")
    print(f"{artifact}: {machine}, {artifact.stat().st_size} bytes")


main(*sys.argv[1:])
