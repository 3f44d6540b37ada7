"""Checks both templates of a release with many combinations of parameters, regions and stack names.

The combinations cover every pair of values that the template's rules allow. For each of them:
- The values meet the constraints and rules of the template.
- `sam validate` accepts the SAM template with these values.
- Both templates, the SAM template after its expansion, are resolved to the resources that CloudFormation
  would create. The two are the same, apart from where the code is, which is checked too.
- These resources have no dangling reference, nothing of another partition or region, no list or mapping that
  became empty, and no broken JSON. They pass cfn-lint in the region of the combination, and Checkov.
Once per region, both templates pass cfn-lint as they are (`sam validate --lint` runs cfn-lint, too).

Usage: check_combinations.py DIR [--all]

DIR has the release's template.yaml and pca-revocation-watch.cfn.yaml. Without --all, only the ten
combinations that cover the most pairs are checked.
"""

import argparse
import concurrent.futures
import copy
import itertools
import json
import logging
import os
import pathlib
import random
import re
import sys
import tempfile
import time

from template import Resolver, parsed

from cfnlint.api import ManualArgs, lint
from checkov.cloudformation.runner import Runner
from checkov.runner_filter import RunnerFilter
from samcli.commands.validate.lib.exceptions import InvalidSamDocumentException
from samcli.lib.translate.sam_template_validator import SamTemplateValidator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))

from release_template import FUNCTION, PLAIN_FILE, SAM_FILE, TOOL_METADATA, NoManagedPolicies  # noqa: E402

REGIONS = {
    "us-east-1": {"AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"},
    "us-gov-west-1": {"AWS::Partition": "aws-us-gov", "AWS::URLSuffix": "amazonaws.com"},
    "cn-north-1": {"AWS::Partition": "aws-cn", "AWS::URLSuffix": "amazonaws.com.cn"},
}
ACCOUNT = "123456789012"

# Values of the parameters that have no list and no range of values. A default is tried, too.
CA = "arn:{partition}:acm-pca:{region}:" + ACCOUNT + ":certificate-authority/11223344-1234-1122-2233-1122334455"
TOPIC = "arn:{partition}:sns:{region}:" + ACCOUNT + ":"
KEY = "arn:{partition}:kms:{region}:" + ACCOUNT + ":key/11223344-1234-1122-2233-112233445566"
EXAMPLES = {
    # As many ARNs as fit into the maximum length in GovCloud, where they are longest.
    "CertificateAuthorities": [CA + "00", ",".join(f"{CA}{n:02}" for n in range(20))],
    "NotificationEmail": ["security@example.com"],
    "NotifyReasons": [
        "KEY_COMPROMISE",
        "UNSPECIFIED,KEY_COMPROMISE,CERTIFICATE_AUTHORITY_COMPROMISE,AFFILIATION_CHANGED,SUPERSEDED,"
        "CESSATION_OF_OPERATION,PRIVILEGE_WITHDRAWN,A_A_COMPROMISE",
    ],
    "SummaryIntervalHours": ["168", "8784"],
    "RunbookUrl": ["https://example.com/" + "r" * 180],
    "ExistingTopicArn": [TOPIC + "alerts.fifo", TOPIC + "t" * 256],
    "ChatTopicArn": [TOPIC + "t" * 256],
    "AlarmTopicArn": [TOPIC + "alarms"],
    "TopicKmsKeyArn": [KEY],
    "ExistingReportBucket": ["b" * 63],
    "BucketKmsKeyArn": [KEY],
    "CertificateAuthorityTag": ["Environment=production", "a b/" + "k" * 124 + "=" + "v" * 256],
    "CodeBucket": ["example-artifacts"],
    "CodePrefix": ["releases/"],
}

# The longest stack name: 128 characters, or 73 if a queue has it in its name (docs/deploy.md).
LONGEST = "longest"
STACK_NAMES = ["pca-revocation-watch", LONGEST]

# An empty list is usually a list whose items were all removed. These may be empty.
MAY_BE_EMPTY = {"AlarmActions", "OKActions"}


# ---------------------------------------------------------------- combinations


def factors(parameters):
    """Returns the values to combine, by parameter; the region and the stack name are two more."""
    found = {"AWS::Region": list(REGIONS), "AWS::StackName": STACK_NAMES}
    for name, parameter in parameters.items():
        values = [parameter["Default"]] if "Default" in parameter else []
        if "AllowedValues" in parameter:
            values += parameter["AllowedValues"]
        elif {"MinValue", "MaxValue"} <= parameter.keys():
            values += [parameter["MinValue"], parameter["MaxValue"]]
        elif name in EXAMPLES:
            values += EXAMPLES[name]
        else:
            sys.exit(f"check_combinations.py has no values for the parameter {name}: add them to EXAMPLES")
        found[name] = list(dict.fromkeys(values))
    if unknown := EXAMPLES.keys() - parameters.keys():
        sys.exit(f"EXAMPLES in check_combinations.py has values for parameters that do not exist: {unknown}")
    return found


def values_of(parameters, combination):
    """Returns the values of the parameters and pseudo parameters, with the ARNs of the region."""
    region = combination["AWS::Region"]
    place = {"partition": REGIONS[region]["AWS::Partition"], "region": region}
    values = {
        name: value.format(**place) if parameters[name]["Type"] == "String" else value
        for name, value in combination.items()
        if name in parameters
    }
    stack_name = combination["AWS::StackName"]
    if stack_name == LONGEST:
        has_queues = "yes" in (values["RevocationEvents"], values["ScaleOut"])
        stack_name = "s" * (73 if has_queues else 128)
    return {
        **values,
        **REGIONS[region],
        "AWS::Region": region,
        "AWS::AccountId": ACCOUNT,
        "AWS::StackName": stack_name,
    }


def refused(parameter, value):
    """Returns the constraint of the parameter that the value violates, or None."""
    text = str(value)
    if parameter["Type"] not in ("String", "Number"):
        return f"unknown type {parameter['Type']}"
    if (parameter["Type"] == "String") != isinstance(value, str):
        return f"{value!r} is not a {parameter['Type']}: a missing quote?"
    if "AllowedValues" in parameter and value not in parameter["AllowedValues"]:
        return "AllowedValues"
    if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], text):
        return "AllowedPattern"
    if not parameter.get("MinLength", 0) <= len(text) <= parameter.get("MaxLength", 4096):
        return "MinLength or MaxLength"
    if not parameter.get("MinValue", value) <= value <= parameter.get("MaxValue", value):
        return "MinValue or MaxValue"
    return None


def broken_rules(template, values):
    """Returns the rules of the template that the values violate."""
    resolver = Resolver(template, values)
    return [
        name
        for name, rule in template.get("Rules", {}).items()
        if resolver.condition(rule.get("RuleCondition", {"Fn::Equals": ["", ""]}))
        and not all(resolver.condition(assertion["Assert"]) for assertion in rule["Assertions"])
    ]


def references(node):
    """Returns the names that the node references."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if isinstance(node, dict):
        if node.keys() == {"Ref"}:
            return {node["Ref"]}
        if node.keys() == {"Fn::GetAtt"}:
            return {node["Fn::GetAtt"][0]}
        if node.keys() == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str):
            return {name.split(".")[0] for name in re.findall(r"\$\{([^!}][^}]*)\}", node["Fn::Sub"])}
        return set().union(*map(references, node.values()))
    return set()


class Pairs:
    """The pairs of values that the template's rules allow."""

    def __init__(self, template, levels):
        self.levels = levels
        ruled = sorted(references(template.get("Rules", {})))
        # All values of the parameters in rules that the rules allow together. Other parameters are free.
        self.allowed = [
            row
            for row in (dict(zip(ruled, values)) for values in itertools.product(*(levels[name] for name in ruled)))
            if not broken_rules(template, row)
        ]
        self.all = [
            (one, other)
            for a, b in itertools.combinations(levels, 2)
            for one, other in itertools.product(((a, v) for v in levels[a]), ((b, w) for w in levels[b]))
            if self.possible(dict([one, other]))
        ]

    def possible(self, row):
        """Returns whether some combination that the rules allow has these values."""
        return any(all(row.get(name, value) == value for name, value in one.items()) for one in self.allowed)

    def of(self, row):
        """Returns the pairs of a combination, in the order of `all`."""
        return set(itertools.combinations(((name, row[name]) for name in self.levels if name in row), 2))

    def cover(self):
        """Returns combinations that cover all pairs, those that cover the most new ones first.

        Each combination is the best of several, made from an uncovered pair by adding one value after
        the other: the one that covers the most new pairs. The result is always the same.
        """
        choice = random.Random(0)
        place = {name: at for at, name in enumerate(self.levels)}
        uncovered = dict.fromkeys(self.all)
        rows = []
        while uncovered:
            best = (0, None)
            for start in choice.choices(list(uncovered), k=20):
                row = dict(start)
                for name in choice.sample(list(self.levels), len(self.levels)):
                    if name not in row:
                        new = {}
                        for value in self.levels[name]:
                            if self.possible({**row, name: value}):
                                pairs = (
                                    (known, (name, value)) if place[known[0]] < place[name] else ((name, value), known)
                                    for known in row.items()
                                )
                                new[value] = sum(pair in uncovered for pair in pairs)
                        most = max(new.values())
                        row[name] = choice.choice([value for value, count in new.items() if count == most])
                covered = sum(pair in uncovered for pair in self.of(row))
                if covered > best[0]:
                    best = (covered, row)
            rows.append({name: best[1][name] for name in self.levels})
            for pair in self.of(best[1]):
                uncovered.pop(pair, None)
        return rows


# ---------------------------------------------------------------- templates


def concrete(template, values):
    """Returns the template without parameters and conditions."""
    resolver = Resolver(template, values)
    resources = resolver.deployed("Resources")
    for resource in resources.values():
        metadata = resource.pop("Metadata", {})
        # SAM's copy of the function's metadata orders nothing: this resource references the function.
        if resource["Type"] == "AWS::Lambda::EventInvokeConfig":
            continue
        # SamTemplateValidator adds SamResourceId.
        if kept := {key: value for key, value in metadata.items() if key not in (*TOOL_METADATA, "SamResourceId")}:
            resource["Metadata"] = kept
    return {"Resources": resources, "Outputs": resolver.deployed("Outputs")}


def document(text):
    """Returns the content of a JSON document, which may have references in strings; None for other values."""
    try:
        return json.loads(text) if isinstance(text, str) and text.startswith(("{", "[")) else None
    except ValueError:
        return None


def differences(one, other, path=""):
    """Yields where two resolved templates differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, items in enumerate(zip(one, other)):
            yield from differences(*items, f"{path}/{at}")
    elif one != other and (document(one) is None or document(one) != document(other)):
        yield f"{path.lstrip('/')}: {SAM_FILE} has {excerpt(one)}, {PLAIN_FILE} {excerpt(other)}"


def excerpt(value):
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def leaves(node, path):
    """Yields the values in a node, which are no list or mapping or an empty one, with their paths."""
    if isinstance(node, (dict, list)) and node:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, node


def structural_problems(template, values):
    """Yields what is wrong with a resolved template."""
    partition, region = values["AWS::Partition"], values["AWS::Region"]
    for section, entries in template.items():
        for name, entry in entries.items():
            depends = entry.get("DependsOn", [])
            needed = references(entry) | set([depends] if isinstance(depends, str) else depends)
            for missing in sorted(needed - template["Resources"].keys()):
                yield f"{section}/{name}: references {missing}, which does not exist"
            for path, value in leaves(entry, f"{section}/{name}"):
                if value in ([], {}) and path.rsplit("/", 1)[1] not in MAY_BE_EMPTY:
                    yield f"{path}: is empty"
                if isinstance(value, str):
                    for other in set(re.findall(r"arn:(aws[a-z-]*):", value)) - {partition}:
                        yield f"{path}: has an ARN of the partition {other}"
                    for other in REGIONS.keys() - {region}:
                        if other in value:
                            yield f"{path}: names the region {other}"
                    if value.startswith(("{", "[")) and document(value) is None:
                        yield f"{path}: is not JSON"


# ---------------------------------------------------------------- validators


def lint_problems(template, region, name):
    for match in lint(json.dumps(template), config=ManualArgs(regions=[region])):
        yield f"cfn-lint {name}: {'/'.join(map(str, match.path or []))}: {match.rule.id} {match.message}"


def checkov_problems(template):
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, "template.json")
        file.write_text(json.dumps(template, indent=1), encoding="utf-8")
        framework = RunnerFilter(framework=["cloudformation"])
        report = Runner().run(root_folder=None, files=[str(file)], runner_filter=framework)
    if report.parsing_errors or not report.passed_checks:
        yield "checkov: cannot read the template"
    for check in report.failed_checks:
        yield f"checkov: {check.resource}: {check.check_id} {check.check_name}"


class Templates:
    """Both templates of a release."""

    def __init__(self, directory):
        self.sam = parsed(pathlib.Path(directory, SAM_FILE).read_text(encoding="utf-8"))
        self.plain = parsed(pathlib.Path(directory, PLAIN_FILE).read_text(encoding="utf-8"))
        for name in self.sam["Parameters"].keys() & self.plain["Parameters"].keys():
            if self.sam["Parameters"][name] != self.plain["Parameters"][name]:
                sys.exit(f"the templates define the parameter {name} differently")
        self.parameters = {**self.sam["Parameters"], **self.plain["Parameters"]}

    def problems_in(self, region):
        """Returns what cfn-lint finds in both templates in a region."""
        templates = ((SAM_FILE, self.sam), (PLAIN_FILE, self.plain))
        return [problem for name, template in templates for problem in lint_problems(template, region, name)]

    def problems(self, combination):
        """Returns what is wrong with both templates for a combination."""
        try:
            return list(self.find_problems(combination))
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]

    def find_problems(self, combination):
        values = values_of(self.parameters, combination)
        region = values["AWS::Region"]
        for name, parameter in self.parameters.items():
            if constraint := refused(parameter, values[name]):
                yield f"Parameters/{name}: {values[name]!r} violates {constraint}"
        for rule in broken_rules(self.plain, values):
            yield f"Rules/{rule}: violated"

        # What `sam validate` does, which cannot set the values of parameters.
        sam = copy.deepcopy(self.sam)
        for name, parameter in sam["Parameters"].items():
            parameter["Default"] = values[name]
        try:
            expanded = SamTemplateValidator(sam, NoManagedPolicies(), region=region).get_translated_template_if_valid()
        except InvalidSamDocumentException as error:
            yield f"sam validate: {error}"
            return

        from_sam = concrete(parsed(expanded), values)
        plain = concrete(self.plain, values)
        code = plain["Resources"][FUNCTION]["Properties"].pop("Code")
        del from_sam["Resources"][FUNCTION]["Properties"]["Code"]
        yield from differences(from_sam, plain)
        # The zip of this architecture, in the bucket that the parameters name.
        zip_name = self.sam["Resources"][FUNCTION]["Properties"]["CodeUri"]
        key = values["CodePrefix"] + zip_name.replace("-arm64.zip", f"-{values['Architecture']}.zip")
        if code != {"S3Bucket": values["CodeBucket"], "S3Key": key}:
            yield f"Resources/{FUNCTION}: wrong code location {json.dumps(code)}"
        plain["Resources"][FUNCTION]["Properties"]["Code"] = code
        yield from structural_problems(plain, values)

        template = {"AWSTemplateFormatVersion": "2010-09-09", **copy.deepcopy(plain)}
        yield from lint_problems(template, region, "resources")
        # Only template.yaml says which checks to skip, and why.
        for name, resource in template["Resources"].items():
            skipped = self.sam["Resources"].get(name, {}).get("Metadata", {}).get("checkov")
            if skipped:
                resource.setdefault("Metadata", {})["checkov"] = skipped
        yield from checkov_problems(template)


def described(combination, parameters):
    """Returns region, stack name and the parameters that are not defaults."""
    values = values_of(parameters, combination)
    return ", ".join(
        f"{name}={text if len(text) <= 60 else f'{text[:60]}... ({len(text)} characters)'}"
        for name, value in combination.items()
        if name not in parameters or value != parameters[name].get("Default")
        for text in [str(values[name])]
    )


def report(title, problems):
    """Prints the problems, if there are any, and returns whether there are none."""
    if problems:
        print(f"\n{title}", *problems, sep="\n  ", flush=True)
    return not problems


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("directory")
    arguments.add_argument("--all", action="store_true", help="check all combinations instead of ten")
    options = arguments.parse_args()
    logging.disable(logging.WARNING)

    started = time.monotonic()
    templates = Templates(options.directory)
    pairs = Pairs(templates.plain, factors(templates.parameters))
    rows = pairs.cover()
    selected = rows if options.all else rows[:10]
    covered = set().union(*map(pairs.of, selected))
    if not covered <= set(pairs.all) or options.all and covered != set(pairs.all):
        sys.exit("the combinations do not cover the pairs that the rules allow")
    print(
        f"{len(selected)} of {len(rows)} combinations of {len(pairs.levels)} factors (parameters, region, stack name) cover "
        f"{len(covered)} of {len(pairs.all)} pairs ({100 * len(covered) / len(pairs.all):.0f}%)",
        flush=True,
    )

    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        linted = pool.map(templates.problems_in, REGIONS)
        checked = pool.map(templates.problems, selected)
        regions = sum(map(report, REGIONS, linted))
        print(f"both templates pass cfn-lint in {regions} of {len(REGIONS)} regions", flush=True)
        passed = sum(map(report, (described(row, templates.parameters) for row in selected), checked))
    print(f"{passed} of {len(selected)} combinations passed, in {time.monotonic() - started:.0f} s")
    sys.exit((regions, passed) != (len(REGIONS), len(selected)))


if __name__ == "__main__":
    main()
