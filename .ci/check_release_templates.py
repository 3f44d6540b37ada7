"""Checks the templates of a release: both deploy the same stack, and the plain one needs no bucket for its upload.

Also renders the plain template with a long name of a bucket, as `--bucket` does, and checks its defaults and size.

Usage: check_release_templates.py DIR

DIR has template.yaml (SAM) and pca-revocation-watch.cfn.yaml (plain CloudFormation). Needs the Python
packages of aws-sam-cli.
"""

import json
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import release_template  # noqa: E402
from release_template import FUNCTION, PLAIN_FILE, SAM_FILE  # noqa: E402
from samcli.yamlhelper import yaml_parse  # noqa: E402

CODE_PARAMETERS = {"CodeBucket", "CodePrefix"}
# AWS CloudFormation User Guide, "Understand CloudFormation quotas": a template's body without an S3 bucket.
# cfn-lint checks the other quotas.
BODY_BYTES = 51_200

problems = []


def check(is_right, problem):
    if not is_right:
        problems.append(problem)


def zip_name(key):
    """Returns the file name in the code's location, with ${Architecture} for its architecture."""
    return re.sub(r"-(arm64|x86_64)\.zip$", "-${Architecture}.zip", key)


def normalized(value):
    """Returns the value with JSON texts in one form. check_combinations.py parses them."""
    if isinstance(value, dict):
        return {key: normalized(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalized(item) for item in value]
    if isinstance(value, str) and "\n" in value:
        return release_template.minified(value)
    return value


def without_tool_metadata(resources):
    """Returns the resources without metadata for tools, and without the code's location."""
    kept = {}
    for name, resource in resources.items():
        resource = dict(resource)
        metadata = resource.pop("Metadata", {})
        if name == FUNCTION:
            # This one orders the resources.
            resource["After"] = metadata.get("After")
            resource["Properties"] = {key: item for key, item in resource["Properties"].items() if key != "Code"}
        kept[name] = resource
    return kept


def compare(name, plain, expanded):
    """Reports what differs between a section of both templates."""
    plain, expanded = normalized(plain), normalized(expanded)
    if not isinstance(plain, dict) or not isinstance(expanded, dict):
        check(plain == expanded, f"{name} differs")
        return
    for key in sorted(plain.keys() | expanded.keys()):
        if key not in plain or key not in expanded:
            where = SAM_FILE if key in expanded else PLAIN_FILE
            check(False, f"{name}: only {where} has {key}")
        else:
            check(plain[key] == expanded[key], f"{name}: {key} differs")


def check_same_stack(plain, sam):
    """Both templates have the same resources and so on, but for the code's location."""
    code = sam["Resources"][FUNCTION]["Properties"]["CodeUri"]
    check(isinstance(code, str) and code.endswith("-arm64.zip"), f"CodeUri is not the zip file for arm64: {code}")
    for key in ("BuildMethod", "BuildProperties"):
        metadata = sam["Resources"][FUNCTION].get("Metadata", {})
        check(key not in metadata, f"{SAM_FILE}: {FUNCTION} still has {key}, so that it would be built")
    # The translator accepts only a location in S3, as `sam deploy` writes it after the upload.
    sam["Resources"][FUNCTION]["Properties"]["CodeUri"] = {"Bucket": "bucket", "Key": "key"}
    expanded = release_template.expand(sam)

    for section in sorted(plain.keys() | expanded.keys()):
        ours, theirs = plain.get(section, {}), expanded.get(section, {})
        if section == "Resources":
            ours, theirs = without_tool_metadata(ours), without_tool_metadata(theirs)
        if section == "Parameters":
            ours = {name: parameter for name, parameter in ours.items() if name not in CODE_PARAMETERS}
        if section == "Metadata":
            for group in ours.get("AWS::CloudFormation::Interface", {}).get("ParameterGroups", []):
                group["Parameters"] = [name for name in group["Parameters"] if name not in CODE_PARAMETERS]
        compare(section, ours, theirs)

    location = plain["Resources"][FUNCTION]["Properties"]["Code"]
    check(set(location) == {"S3Bucket", "S3Key"}, f"the code has another location than S3: {location}")
    check(location.get("S3Bucket") == {"Ref": "CodeBucket"}, f"the code's bucket is {location.get('S3Bucket')}")
    # Literal: `aws cloudformation deploy` keeps the values of parameters, and an update must change it.
    expected = {"Fn::Sub": "${CodePrefix}" + zip_name(str(code))}
    check(location.get("S3Key") == expected, f"the code's key is {location.get('S3Key')}, not {expected}")


def check_size(name, size):
    check(size <= BODY_BYTES, f"{name}: CloudFormation accepts {BODY_BYTES} bytes without S3, and not {size}")


def check_plain(plain):
    """The plain template needs no macro, and no value but CodeBucket."""
    check("Transform" not in plain, "Transform is a macro")
    check("Fn::Transform" not in json.dumps(plain), "Fn::Transform is a macro")
    for name, resource in plain["Resources"].items():
        check(not resource["Type"].startswith("AWS::Serverless::"), f"{name}: {resource['Type']} needs SAM's macro")
        for key in release_template.TOOL_METADATA:
            check(key not in resource.get("Metadata", {}), f"{name}: {key} in its metadata is for tools only")
    parameters = plain["Parameters"]
    check(CODE_PARAMETERS <= parameters.keys(), f"no parameters {CODE_PARAMETERS - parameters.keys()}")
    missing = {name for name, parameter in parameters.items() if "Default" not in parameter}
    missing -= {"CodeBucket"}
    check(not missing, f"these parameters have no default: {sorted(missing)}")
    groups = plain["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    check(grouped == list(parameters), f"the groups list other parameters or another order: {grouped}")


def check_with_bucket():
    """A template that names the location of the zip has it as defaults, and is not too long either."""
    bucket, prefix = "b" * 63, "releases/"
    with tempfile.TemporaryDirectory() as directory:
        release_template.render("0.1.0-0123456789ab", directory, f"{bucket}/{prefix}")
        text = pathlib.Path(directory, PLAIN_FILE).read_bytes()
    check_size(f"{PLAIN_FILE} with --bucket", len(text))
    parameters = yaml_parse(text.decode())["Parameters"]
    for name, value in (("CodeBucket", bucket), ("CodePrefix", prefix)):
        default, pattern = parameters[name].get("Default"), parameters[name]["AllowedPattern"]
        check(default == value, f"{PLAIN_FILE} with --bucket: the default of {name} is {default!r}, not {value!r}")
        check(re.fullmatch(pattern, value), f"{name}: {pattern} does not match {value!r}")
    pattern = parameters["CodeBucket"]["AllowedPattern"]
    for value in ("arn:aws:s3:::amzn-s3-demo-bucket", f"{bucket}b"):
        check(not re.fullmatch(pattern, value), f"CodeBucket: {pattern} matches {value!r}")
    return len(text)


def main(directory):
    directory = pathlib.Path(directory)
    text = (directory / PLAIN_FILE).read_bytes()
    plain = yaml_parse(text.decode())
    sam = yaml_parse((directory / SAM_FILE).read_text(encoding="utf-8"))
    check_size(PLAIN_FILE, len(text))
    check_plain(plain)
    check_same_stack(plain, sam)
    with_bucket = check_with_bucket()
    if problems:
        sys.exit("\n".join(problems))
    sections = ", ".join(f"{len(plain[section])} {section.lower()}" for section in ("Parameters", "Resources", "Outputs"))
    print(f"{directory}: both templates deploy the same stack ({sections})")
    print(f"{PLAIN_FILE}: {len(text)} bytes, {with_bucket} with --bucket; at most {BODY_BYTES}")


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
