#!/usr/bin/env python3
"""Renders the two templates of a release from template.yaml.

    scripts/release_template.py --version VERSION [--bucket NAME[/PREFIX]] --output DIR

Writes DIR/template.yaml, for `sam deploy` with the release's zip file for arm64, and
DIR/pca-revocation-watch.cfn.yaml: the same as plain CloudFormation, expanded by SAM's own translator.
Needs the Python packages of aws-sam-cli.
"""

import argparse
import copy
import os
import re
import sys
from pathlib import Path

import yaml
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parent.parent
NAME = "pca-revocation-watch"
SAM_FILE = "template.yaml"
PLAIN_FILE = f"{NAME}.cfn.yaml"
FUNCTION = "WatchFunction"

# Lines of template.yaml that only a build needs, and what a release has instead.
BUILD_LINES = {
    "      CodeUri: .\n": "      CodeUri: {name}-{version}-arm64.zip\n",
    "      BuildMethod: rust-cargolambda\n      BuildProperties:\n        Binary: bootstrap\n": "",
}
# Metadata for tools that build or check template.yaml, not for CloudFormation.
TOOL_METADATA = ("BuildMethod", "BuildProperties", "checkov")

BUCKET_PATTERN = "[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
PREFIX_PATTERN = "([A-Za-z0-9!_.*()-]+/)*"
HEADER = f"""\
# {NAME} {{version}}, made from template.yaml by AWS SAM's translator.
# First upload {NAME}-{{version}}-arm64.zip (or -x86_64.zip, see Architecture) to CodeBucket.
"""
# At most this many characters of a list or mapping are on one line. A longer line saves some bytes of the
# 51,200 that a template may have; shortening texts of template.yaml saves more.
LINE = 180


def sam_template(text, version):
    """Returns the template for `sam deploy`, which uploads the zip file instead of building."""
    for line, replacement in BUILD_LINES.items():
        if text.count(line) != 1:
            sys.exit(f"template.yaml does not have exactly one of these lines:\n{line}")
        text = text.replace(line, replacement.format(name=NAME, version=version))
    return text


class NoManagedPolicies:
    """The managed policies that SAM's translator may look up: the template uses none."""

    def load(self):
        return {}


def expand(template):
    """Returns a parsed SAM template as SAM's translator expands it."""
    # The translator takes the region from boto3.
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    return transform(copy.deepcopy(template), {}, NoManagedPolicies())


def plain_template(text, version, bucket=None, prefix=""):
    """Returns the macro-free template: the code is in a bucket that parameters name."""
    template = yaml_parse(text)
    template["Resources"][FUNCTION]["Properties"]["CodeUri"] = {
        "Bucket": {"Ref": "CodeBucket"},
        "Key": {"Fn::Sub": f"${{CodePrefix}}{NAME}-{version}-${{Architecture}}.zip"},
    }
    template = expand(template)
    if "Transform" in template:
        sys.exit("SAM's translator left a Transform in the template")
    add_code_parameters(template, bucket, prefix)
    for resource in template["Resources"].values():
        metadata = resource.get("Metadata", {})
        for key in TOOL_METADATA:
            metadata.pop(key, None)
        # The translator copies the function's metadata to the resources that it makes from it.
        if not metadata or resource["Type"] == "AWS::Lambda::EventInvokeConfig":
            resource.pop("Metadata", None)
    compact_dashboard(template["Resources"]["Dashboard"]["Properties"]["DashboardBody"])
    text = HEADER.format(version=version) + dump(template)
    if yaml_parse(text) != template:
        sys.exit(f"{PLAIN_FILE} reads differently from what was written")
    return text


def add_code_parameters(template, bucket, prefix):
    """Adds the parameters for the location of the zip file after those that every stack needs."""
    code = {
        "CodeBucket": {
            "Type": "String",
            "Default": bucket,
            "Description": "Name of an S3 bucket in this region that holds the zip file of the release",
            "AllowedPattern": f"^{BUCKET_PATTERN}$",
            "ConstraintDescription": "must be the name of an S3 bucket (not its ARN)",
        },
        "CodePrefix": {
            "Type": "String",
            "Default": prefix,
            "Description": "Path of the zip file in CodeBucket, with / at its end; empty if it has none",
            "AllowedPattern": f"^{PREFIX_PATTERN}$",
            "ConstraintDescription": "must be empty, or a path that ends with / (for example releases/)",
        },
    }
    if bucket is None:
        del code["CodeBucket"]["Default"]
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    first = interface["ParameterGroups"][0]["Parameters"]
    parameters = template["Parameters"]
    template["Parameters"] = {
        **{name: parameters[name] for name in first},
        **code,
        **{name: value for name, value in parameters.items() if name not in first},
    }
    first.extend(code)


def minified(text):
    """Returns a JSON text without spaces between its tokens."""
    return re.sub(r'("(?:[^"\\]|\\.)*")|\s+', lambda found: found[1] or "", text)


def compact_dashboard(value):
    """Puts the JSON of each widget on one line, in every Fn::Sub that has line breaks."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, str) and "\n" in item:
            value[key] = minified(item).replace('{"type":', '\n{"type":')
        elif isinstance(item, (dict, list)):
            compact_dashboard(item)


class Dumper(yaml.SafeDumper):
    """Writes plain scalars after a tag, such as `!Ref Topic`, and indents by one space."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # The option `indent` is 2 or more.
        self.best_indent = 1

    def expect_block_mapping(self):
        # The keys of a mapping in a list align with the first, after "- ".
        self.best_indent = 2 if self.sequence_context else 1
        super().expect_block_mapping()
        self.best_indent = 1

    def choose_scalar_style(self):
        style = super().choose_scalar_style()
        event, analysis = self.event, self.analysis
        if style == "'" and event.style is None and event.tag.startswith("!") and not analysis.multiline:
            if analysis.allow_flow_plain if self.flow_level else analysis.allow_block_plain:
                return ""
        return style

    def ignore_aliases(self, _data):
        return True


def node(value):
    """Returns a YAML node, with the short form of CloudFormation's functions."""
    if isinstance(value, dict):
        if len(value) == 1:
            (key, argument), = value.items()
            tag = short_tag(key, argument)
            if tag == "!GetAtt":
                return yaml.ScalarNode(tag, ".".join(argument))
            if tag:
                tagged = node(argument)
                tagged.tag = tag
                return tagged
        pairs = [(node(key), node(item)) for key, item in value.items()]
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=is_short(value))
    if isinstance(value, (list, tuple)):
        items = [node(item) for item in value]
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=is_short(value))
    if isinstance(value, bool):
        return yaml.ScalarNode("tag:yaml.org,2002:bool", str(value).lower())
    if isinstance(value, int):
        return yaml.ScalarNode("tag:yaml.org,2002:int", str(value))
    if isinstance(value, str):
        return yaml.ScalarNode("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)
    sys.exit(f"cannot write {value!r} as YAML")


def short_tag(key, argument):
    """Returns the tag of a function, or None if it is none or needs the long form."""
    name = key.removeprefix("Fn::")
    if key != name or key in ("Ref", "Condition"):
        # One node has one tag, so the argument of a short form is no short form itself.
        is_function = isinstance(argument, dict) and len(argument) == 1
        if not is_function and (key != "Condition" or isinstance(argument, str)):
            return f"!{name}"
    return None


def is_short(value):
    text = re.sub(r"['\"]", "", str(value))
    return len(text) <= LINE and "\\n" not in text


def dump(template):
    return yaml.serialize(node(template), Dumper=Dumper, width=sys.maxsize, allow_unicode=True)


def bucket_and_prefix(argument):
    """Returns the name and the prefix, which is empty or ends with a slash."""
    if argument is None:
        return None, ""
    bucket, _, prefix = argument.removeprefix("s3://").partition("/")
    prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    if not re.fullmatch(BUCKET_PATTERN, bucket) or not re.fullmatch(PREFIX_PATTERN, prefix):
        sys.exit(f"--bucket: {argument!r} is not NAME or NAME/PREFIX")
    return bucket, prefix


def render(version, output, bucket=None):
    """Writes both templates; `bucket` is NAME or NAME/PREFIX."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / SAM_FILE).write_text(sam_template(text, version), encoding="utf-8")
    plain = plain_template(text, version, *bucket_and_prefix(bucket))
    (output / PLAIN_FILE).write_text(plain, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", required=True, help="as in the name of the zip file")
    parser.add_argument("--bucket", metavar="NAME[/PREFIX]", help="default of CodeBucket and CodePrefix")
    parser.add_argument("--output", required=True, metavar="DIR")
    arguments = parser.parse_args()
    render(arguments.version, arguments.output, arguments.bucket)


if __name__ == "__main__":
    main()
