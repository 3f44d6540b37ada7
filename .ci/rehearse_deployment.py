"""Rehearses the deployment of a release without AWS.

moto's CloudFormation creates the stack from the macro-free template with the parameters that a user
gives; for seven types of resources that it lacks, this script calls moto's APIs of the services. What was
created is read back from these APIs. The stack is then updated to another version and deleted. At the end,
tests/deployment/rehearsal.rs runs the binary of each zip with the environment of the stack, and evaluates
its calls against the policies that were read back.

Needs moto[server] 5.2.5, the Python packages of aws-sam-cli, and a Rust toolchain; to run the binary of the
other architecture, qemu-aarch64 or qemu-x86_64 and a C library (Debian packages qemu-user, libc6-arm64-cross,
libc6-amd64-cross). A binary that this machine cannot run is reported as NOT DONE.

Usage: rehearse_deployment.py DIR

DIR is the folder of a release.
"""

import ast
import base64
import copy
import hashlib
import io
import json
import logging
import pathlib
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile

from template import INHERITED, Resolver, parsed

import boto3
import botocore.config
import botocore.exceptions
from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel
from moto.server import ThreadedMotoServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from release import ARCHITECTURES  # noqa: E402
from release_template import FUNCTION, NAME, PLAIN_FILE  # noqa: E402

ACCOUNT = "123456789012"
REGION = "us-east-1"
STACK = NAME
# The parameters that a user gives; CodeBucket only if the release was built without --bucket.
GIVEN = {"NotificationEmail": "security@example.com", "CertificateAuthorities": "*"}
OWN_BUCKET = {"CodeBucket": "amzn-s3-demo-bucket"}
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}
TEST = "rehearsal::release_audits_with_environment_and_policies_of_its_stack"
# What runs a Linux binary of another architecture, and where the C library for it is.
EMULATORS = {
    "arm64": ("qemu-aarch64", "/usr/aarch64-linux-gnu"),
    "x86_64": ("qemu-x86_64", "/usr/x86_64-linux-gnu"),
}

# Properties that moto accepts and does not keep: nothing here shows that they work.
LOST_PROPERTIES = {
    ("AWS::Lambda::EventInvokeConfig", "Qualifier"),
    ("AWS::Lambda::Function", "Architectures"),
    ("AWS::Lambda::Function", "LoggingConfig"),
    ("AWS::Lambda::Function", "Tags"),
    ("AWS::S3::Bucket", "LifecycleConfiguration"),
    ("AWS::S3::Bucket", "OwnershipControls"),
    ("AWS::S3::Bucket", "PublicAccessBlockConfiguration"),
    ("AWS::S3::Bucket", "VersioningConfiguration"),
    ("AWS::SNS::Topic", "SignatureVersion"),
    ("AWS::SQS::Queue", "RedriveAllowPolicy"),
}


class Moto:
    """moto's server on a free port of loopback. Calling it returns a client of one service."""

    def start(self):
        for name in ("moto", "werkzeug"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def __call__(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            # An error of moto stays one, and no proxy is between.
            config=botocore.config.Config(retries={"total_max_attempts": 1}, proxies={}),
        )


aws = Moto()


# ---------------------------------------------------------------- resource types that moto lacks
#
# moto's CloudFormation skips these types. It still resolves their properties here, and the functions
# pass them on to moto's API of the service, whose client checks names and types. Each function takes
# the generated name and the properties, and returns the physical ID.


def create_alarm(name, properties):
    aws("cloudwatch").put_metric_alarm(AlarmName=name, **properties)
    return name


def create_event_invoke_config(_name, properties):
    aws("lambda").put_function_event_invoke_config(**properties)
    return properties["FunctionName"]


def create_schedule(name, properties):
    aws("scheduler").create_schedule(Name=name, **properties)
    return name


def create_bucket_policy(_name, properties):
    aws("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))
    return properties["Bucket"]


def create_subscription(_name, properties):
    return aws("sns").subscribe(**properties, ReturnSubscriptionArn=True)["SubscriptionArn"]


def create_topic_policy(_name, properties):
    policy = json.dumps(properties["PolicyDocument"])
    (topic,) = properties["Topics"]
    aws("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    return topic


def create_queue_policy(_name, properties):
    policy = json.dumps(properties["PolicyDocument"])
    (queue,) = properties["Queues"]
    aws("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    return queue


CREATE = {
    "AWS::CloudWatch::Alarm": create_alarm,
    "AWS::Lambda::EventInvokeConfig": create_event_invoke_config,
    "AWS::S3::BucketPolicy": create_bucket_policy,
    "AWS::SNS::Subscription": create_subscription,
    "AWS::SNS::TopicPolicy": create_topic_policy,
    "AWS::SQS::QueuePolicy": create_queue_policy,
    "AWS::Scheduler::Schedule": create_schedule,
}
# Resources that do not end with another one.
DELETE = {
    "AWS::CloudWatch::Alarm": lambda name: aws("cloudwatch").delete_alarms(AlarmNames=[name]),
    "AWS::Scheduler::Schedule": lambda name: aws("scheduler").delete_schedule(Name=name),
    "AWS::SNS::Subscription": lambda arn: aws("sns").unsubscribe(SubscriptionArn=arn),
}
ATTRIBUTES = {
    ("AWS::CloudWatch::Alarm", "Arn"): lambda name: f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
}


def add_type(resource_type):
    """Makes moto's CloudFormation create resources of a type that it lacks."""

    class Added(CloudFormationModel):
        # moto reads the name of the service from here.
        __module__ = CloudFormationModel.__module__

        def __init__(self, physical_id):
            self.physical_resource_id = physical_id

        @staticmethod
        def cloudformation_type():
            return resource_type

        @classmethod
        def create_from_cloudformation_json(cls, resource_name, cloudformation_json, *_, **__):
            return cls(CREATE[resource_type](resource_name, cloudformation_json["Properties"]))

        def get_cfn_attribute(self, name):
            return ATTRIBUTES[resource_type, name](self.physical_resource_id)

        def delete(self, *_):
            if resource_type in DELETE:
                DELETE[resource_type](self.physical_resource_id)

    return Added


# ---------------------------------------------------------------- the template


class Template(Resolver):
    """The macro-free template, with the parameters of one deployment."""

    def __init__(self, text, given):
        template = parsed(text)
        defaults = {name: it["Default"] for name, it in template["Parameters"].items() if "Default" in it}
        self.given = given
        self.parameters = {**defaults, **given}
        missing = template["Parameters"].keys() - self.parameters.keys()
        if missing:
            sys.exit(f"the template has more parameters without default: {sorted(missing)}")
        super().__init__(template, {**PSEUDO, **self.parameters})

    def code_location(self):
        """Returns bucket and key of the zip."""
        code = self.deployed("Resources")[FUNCTION]["Properties"]["Code"]
        return code["S3Bucket"], code["S3Key"]

    def release_name(self):
        """Returns the name of the zip without its architecture."""
        _, key = self.code_location()
        return pathlib.PurePosixPath(key).name.rsplit("-", 1)[0]

    def for_moto(self):
        """Returns the template as JSON, changed only where moto differs from CloudFormation.

        - Items of lists that are AWS::NoValue are removed: moto leaves them there as null.
        - Parameters are strings: moto finds no number among the keys of a mapping.
        - RetainExceptOnCreate is Retain, which is the same once the stack exists: moto deletes.
        """

        def without_no_value(value):
            if isinstance(value, list):
                return [without_no_value(item) for item in value if self.chosen(item) != {"Ref": "AWS::NoValue"}]
            if isinstance(value, dict):
                if list(value) == ["Fn::If"]:
                    condition, *branches = value["Fn::If"]
                    return {"Fn::If": [condition, *map(without_no_value, branches)]}
                return {key: without_no_value(item) for key, item in value.items()}
            return value

        changed = copy.deepcopy(self.template)
        changed["Resources"] = without_no_value(changed["Resources"])
        for parameter in changed["Parameters"].values():
            parameter["Type"] = "String"
            if "Default" in parameter:
                parameter["Default"] = str(parameter["Default"])
        for resource in changed["Resources"].values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
        return json.dumps(changed)


# ---------------------------------------------------------------- what the stack made


def optional(call, key):
    """Returns a part of a response, or None if there is no such configuration."""
    try:
        return call().get(key)
    except botocore.exceptions.ClientError:
        return None


def read_function(name):
    function = aws("lambda").get_function(FunctionName=name)
    found = function["Configuration"]
    tags = [{"Key": key, "Value": value} for key, value in function.get("Tags", {}).items()]
    return {**found, "Tags": tags}


def read_role(name):
    iam = aws("iam")
    policies = []
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        # moto returns a policy that CloudFormation put there as a Python literal.
        policies.append({"PolicyName": policy, "PolicyDocument": ast.literal_eval(document)})
    return {**iam.get_role(RoleName=name)["Role"], "Policies": policies}


def read_bucket(name):
    s3 = aws("s3")
    encryption = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    encryption = [{"ServerSideEncryptionByDefault": it["ApplyServerSideEncryptionByDefault"]} for it in encryption]
    public = optional(lambda: s3.get_public_access_block(Bucket=name), "PublicAccessBlockConfiguration")
    return {
        "BucketEncryption": {"ServerSideEncryptionConfiguration": encryption},
        "LifecycleConfiguration": optional(lambda: s3.get_bucket_lifecycle_configuration(Bucket=name), "Rules"),
        "OwnershipControls": optional(lambda: s3.get_bucket_ownership_controls(Bucket=name), "OwnershipControls"),
        "PublicAccessBlockConfiguration": public,
        "VersioningConfiguration": s3.get_bucket_versioning(Bucket=name),
    }


def read_bucket_policy(bucket):
    return {"Bucket": bucket, "PolicyDocument": json.loads(aws("s3").get_bucket_policy(Bucket=bucket)["Policy"])}


def read_queue(url):
    attributes = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    parsed = {name: json.loads(attributes[name]) for name in ("Policy", "RedriveAllowPolicy") if name in attributes}
    return {**attributes, **parsed}


def read_topic(arn):
    attributes = aws("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
    return {**attributes, "Policy": json.loads(attributes["Policy"])}


def read_log_group(name):
    (group,) = aws("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return {**group, "LogGroupName": group["logGroupName"], "RetentionInDays": group.get("retentionInDays")}


def read_alarm(name):
    (alarm,) = aws("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return alarm


READ = {
    "AWS::CloudWatch::Alarm": read_alarm,
    "AWS::CloudWatch::Dashboard": lambda name: aws("cloudwatch").get_dashboard(DashboardName=name),
    "AWS::IAM::Role": read_role,
    "AWS::Lambda::EventInvokeConfig": lambda name: {
        **aws("lambda").get_function_event_invoke_config(FunctionName=name),
        "FunctionName": name,
    },
    "AWS::Lambda::Function": read_function,
    "AWS::Logs::LogGroup": read_log_group,
    "AWS::S3::Bucket": read_bucket,
    "AWS::S3::BucketPolicy": read_bucket_policy,
    "AWS::SNS::Subscription": lambda arn: aws("sns").get_subscription_attributes(SubscriptionArn=arn)["Attributes"],
    "AWS::SNS::Topic": read_topic,
    "AWS::SNS::TopicPolicy": lambda arn: {"Topics": [arn], "PolicyDocument": read_topic(arn)["Policy"]},
    "AWS::SQS::Queue": read_queue,
    "AWS::SQS::QueuePolicy": lambda url: {"Queues": [url], "PolicyDocument": read_queue(url)["Policy"]},
    "AWS::Scheduler::Schedule": lambda name: aws("scheduler").get_schedule(Name=name),
}


class Deployed:
    """The resources of the stack as moto shows them: types, physical IDs and settings."""

    def __init__(self):
        found = aws("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
        # moto lists a resource whose condition is false, without a name.
        found = {it["LogicalResourceId"]: it for it in found if "LogicalResourceId" in it}
        self.types = {name: it["ResourceType"] for name, it in found.items()}
        self.ids = {name: it["PhysicalResourceId"] for name, it in found.items()}
        self.settings = {name: READ[kind](self.ids[name]) for name, kind in self.types.items()}
        (stack,) = aws("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in stack.get("Outputs", [])}

    def of_type(self, kind):
        return [self.settings[name] for name, it in self.types.items() if it == kind]


def is_reference(value):
    """Returns whether a resolved value still has references, whose values only the emulator knows."""
    return isinstance(value, dict) and len(value) == 1 and value.keys() <= {"Ref", "Fn::GetAtt", "Fn::Sub"}


def is_kept(expected, actual):
    """Returns whether a property has its value in moto. moto may add members."""
    if is_reference(expected):
        return bool(actual)
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(is_kept(it, actual.get(key)) for key, it in expected.items())
    if isinstance(expected, list):
        return isinstance(actual, list) and len(expected) == len(actual) and all(map(is_kept, expected, actual))
    return scalar(expected) == scalar(actual)


def scalar(value):
    """Returns a value as CloudFormation and the services write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_resources(template, deployed):
    """Checks that the stack has the template's resources and outputs, with the literal properties of each.

    Of a value that references a resource, only the presence is checked. The properties in LOST_PROPERTIES
    must be lost: if moto keeps one, or the template no longer has it, the list is out of date.
    """
    resources = template.deployed("Resources")
    expected = {name: it["Type"] for name, it in resources.items()}
    if deployed.types != expected:
        sys.exit(f"the stack has {deployed.types}\nthe template has {expected}")
    lost = {
        (resource["Type"], key)
        for name, resource in resources.items()
        for key, value in resource["Properties"].items()
        # check_code compares the code.
        if key != "Code" and not is_kept(value, deployed.settings[name].get(key))
    }
    if lost != LOST_PROPERTIES:
        sys.exit(f"moto does not keep {lost - LOST_PROPERTIES}; not lost, or not there: {LOST_PROPERTIES - lost}")
    outputs = template.deployed("Outputs").keys()
    if deployed.outputs.keys() != outputs:
        sys.exit(f"the stack has the outputs {sorted(deployed.outputs)}; the template has {sorted(outputs)}")
    added = sum(kind in CREATE for kind in expected.values())
    print(
        f"{len(expected)} resources ({added} of them of the {len(CREATE)} types that moto lacks: this script "
        f"creates them through moto's APIs) and {len(outputs)} outputs"
    )
    print(f"not kept by moto: {', '.join(f'{kind} {key}' for kind, key in sorted(lost))}")


def check_references(deployed):
    """Checks that every ARN, and every name that an alarm watches, is that of a resource of the stack."""
    text = json.dumps([deployed.settings, deployed.outputs], default=str)
    if "${" in text:
        sys.exit(f"unresolved: {re.findall('.{40}[$]{.{40}', text)}")
    names = ("AlarmArn", "Arn", "DashboardArn", "FunctionArn", "QueueArn", "TopicArn", "logGroupArn")
    known = {it[name] for it in deployed.settings.values() for name in names if name in it}
    known |= {f"arn:aws:s3:::{deployed.ids['ReportBucket']}"}
    # CAs, certificates and alarms in general.
    general = ("acm-pca:{}:certificate-authority/*", "acm:{}:certificate/*", "cloudwatch:{}:alarm:*")
    patterns = {f"arn:aws:{it.format(f'{REGION}:{ACCOUNT}')}" for it in general}
    mentioned = set(re.findall(r"arn:aws[^\"'\\\s,]*", text))
    unknown = {
        arn
        for arn in mentioned - patterns
        if not any(arn == it or arn.startswith((f"{it}/", f"{it}:")) for it in known)
    }
    alarms = deployed.of_type("AWS::CloudWatch::Alarm")
    watched = {dimension["Value"] for alarm in alarms for dimension in alarm["Dimensions"]}
    unknown |= watched - {re.split("[:/]", it)[-1] for it in known}
    if unknown:
        sys.exit(f"the stack mentions what does not exist: {sorted(unknown)}")
    print(f"{len(mentioned)} ARNs in settings, policies and outputs: all of the stack's resources, or general patterns")


# ---------------------------------------------------------------- create, update, delete


def zip_with(content):
    """Returns a zip with one file, as the code of another version."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bootstrap", content)
    return buffer.getvalue()


def upload(template, content):
    bucket, key = template.code_location()
    aws("s3").put_object(Bucket=bucket, Key=key, Body=content)


def check_code(deployed, content):
    expected = base64.b64encode(hashlib.sha256(content).digest()).decode()
    code = deployed.settings[FUNCTION]["CodeSha256"]
    if code != expected:
        sys.exit(f"the function has code with the hash {code}; the zip has {expected}")


def create(folder, template):
    """Creates the stack from the release, and returns what was created."""
    bucket, key = template.code_location()
    code = (folder / pathlib.PurePosixPath(key).name).read_bytes()
    aws("s3").create_bucket(Bucket=bucket)
    upload(template, code)
    print(f"uploaded s3://{bucket}/{key}")
    aws("cloudformation").create_stack(
        StackName=STACK,
        TemplateBody=template.for_moto(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in template.given.items()],
    )
    aws("cloudformation").get_waiter("stack_create_complete").wait(StackName=STACK)
    print(f"created the stack with {', '.join(template.given)}")
    deployed = Deployed()
    check_resources(template, deployed)
    check_references(deployed)
    check_code(deployed, code)
    return deployed


def update(folder, template, before):
    """Updates to another version with the previous parameters, as `aws cloudformation deploy` does."""
    text = (folder / PLAIN_FILE).read_text(encoding="utf-8")
    new = Template(text.replace(f"{template.release_name()}-", f"{NAME}-9.9.9-"), template.given)
    # The CLI asks CloudFormation to keep every value. moto would count a default that it keeps as a change.
    if new.parameters != template.parameters:
        sys.exit("a parameter's default depends on the version: an update keeps the previous value")
    code = zip_with("another version")
    upload(new, code)
    cloudformation = aws("cloudformation")
    change = {"StackName": STACK, "ChangeSetName": "update"}
    cloudformation.create_change_set(
        **change,
        ChangeSetType="UPDATE",
        TemplateBody=new.for_moto(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": name, "UsePreviousValue": True} for name in new.given],
    )
    changes = cloudformation.describe_change_set(**change)["Changes"]
    changed = {it["ResourceChange"]["LogicalResourceId"]: it["ResourceChange"]["Action"] for it in changes}
    if changed != {FUNCTION: "Modify"}:
        sys.exit(f"another version changes more than the function: {changed}")
    cloudformation.execute_change_set(**change)
    after = Deployed()
    check_code(after, code)
    if after.ids != before.ids:
        sys.exit(f"the update replaced resources: {before.ids}, {after.ids}")
    print(f"updated to {new.code_location()[1]}: the function has its code, and nothing was replaced")


def remaining():
    """Returns the names of everything in the account."""
    iam, sns, sqs = aws("iam"), aws("sns"), aws("sqs")
    return {
        "alarms": [it["AlarmName"] for it in aws("cloudwatch").describe_alarms()["MetricAlarms"]],
        "buckets": [it["Name"] for it in aws("s3").list_buckets()["Buckets"]],
        "dashboards": [it["DashboardName"] for it in aws("cloudwatch").list_dashboards()["DashboardEntries"]],
        "functions": [it["FunctionName"] for it in aws("lambda").list_functions()["Functions"]],
        "log groups": [it["logGroupName"] for it in aws("logs").describe_log_groups()["logGroups"]],
        "queues": sqs.list_queues().get("QueueUrls", []),
        "roles": [it["RoleName"] for it in iam.list_roles()["Roles"]],
        "schedules": [it["Name"] for it in aws("scheduler").list_schedules()["Schedules"]],
        "subscriptions": [it["SubscriptionArn"] for it in sns.list_subscriptions()["Subscriptions"]],
        "topics": [it["TopicArn"] for it in sns.list_topics()["Topics"]],
    }


def delete(template, deployed):
    """Deletes the stack: only the bucket for reports and state stays, with its policy."""
    bucket = deployed.ids["ReportBucket"]
    policy = read_bucket_policy(bucket)
    if not all(remaining().values()):
        sys.exit(f"the stack does not have some of {remaining()}")
    aws("cloudformation").delete_stack(StackName=STACK)
    expected = {name: [] for name in remaining()}
    expected["buckets"] = sorted([bucket, template.code_location()[0]])
    found = {name: sorted(it) for name, it in remaining().items()}
    if found != expected:
        sys.exit(f"after the deletion there is {found}")
    if read_bucket_policy(bucket) != policy:
        sys.exit("the deletion changed the policy of the bucket")
    print("deleted the stack: the bucket for reports and state is left, with its policy")


# ---------------------------------------------------------------- the binary


def role_with(deployed, arn):
    """Returns what tests/deployment/rehearsal.rs needs of a role."""
    (role,) = [it for it in deployed.of_type("AWS::IAM::Role") if it["Arn"] == arn]
    return {
        "arn": arn,
        "trust": role["AssumeRolePolicyDocument"]["Statement"],
        "statements": [it for policy in role["Policies"] for it in policy["PolicyDocument"]["Statement"]],
    }


def for_test(template, deployed):
    """Returns what tests/deployment/rehearsal.rs needs: the stack as read back, and what moto cannot tell."""
    version, commit, dirty = re.fullmatch(f"{NAME}-(.+?)(?:-([0-9a-f]{{12}}))?(-dirty)?", template.release_name()).groups()
    bucket = template.deployed("Resources")["ReportBucket"]["Properties"]
    function = deployed.settings[FUNCTION]
    (schedule,) = deployed.of_type("AWS::Scheduler::Schedule")
    (invoke_config,) = deployed.of_type("AWS::Lambda::EventInvokeConfig")
    (bucket_policy,) = deployed.of_type("AWS::S3::BucketPolicy")
    (log_group,) = deployed.of_type("AWS::Logs::LogGroup")
    subscriptions = deployed.of_type("AWS::SNS::Subscription")
    return {
        "version": version,
        # A build of a tree with changes does not name its commit; the name of a tagged version has none.
        "commit": "unknown" if dirty else commit or "",
        # moto does not keep the property.
        "versioning": bucket.get("VersioningConfiguration"),
        "functionName": function["FunctionName"],
        "functionArn": function["FunctionArn"],
        "memorySize": function["MemorySize"],
        "environment": function["Environment"]["Variables"],
        "role": role_with(deployed, function["Role"]),
        "onFailure": invoke_config["DestinationConfig"]["OnFailure"]["Destination"],
        "logGroupArn": log_group["arn"],
        "schedule": {name: schedule[name] for name in ("Arn", "Target")},
        "scheduleRole": role_with(deployed, schedule["Target"]["RoleArn"]),
        "bucketPolicy": bucket_policy,
        "subscriptions": [{name: it[name] for name in ("TopicArn", "Protocol", "Endpoint")} for it in subscriptions],
        "outputs": deployed.outputs,
    }


def extract(folder, release_name, target):
    """Checks the zips of the release, extracts their binaries, and returns these by architecture."""
    names = {architecture: f"{release_name}-{architecture}.zip" for architecture in ARCHITECTURES}
    found = sorted(it.name for it in folder.glob("*.zip"))
    if found != sorted(names.values()):
        sys.exit(f"{folder} has {found}; {PLAIN_FILE} needs {sorted(names.values())}")
    binaries = {}
    for architecture, name in names.items():
        with zipfile.ZipFile(folder / name) as archive:
            if [(it.filename, it.external_attr >> 16) for it in archive.infolist()] != [("bootstrap", 0o100755)]:
                sys.exit(f"{name} does not hold one executable file named bootstrap")
            binary = pathlib.Path(archive.extract("bootstrap", target / architecture))
        binary.chmod(0o755)
        header = binary.read_bytes()[:20]
        *_, machine = ARCHITECTURES[architecture]
        if header[:4] != b"\x7fELF" or struct.unpack_from("<H", header, 18) != (machine,):
            sys.exit(f"{name} does not hold a binary for {architecture}")
        binaries[architecture] = binary
    return binaries


def rehearse(name, architecture, binary, stack):
    """Runs tests/deployment/rehearsal.rs with a binary, or says what this machine lacks."""
    command = [str(binary)]
    if platform.system() != "Linux":
        print(f"NOT DONE: {name}: needs Linux")
        return
    if architecture != {"aarch64": "arm64"}.get(platform.machine(), platform.machine()):
        emulator, libraries = EMULATORS[architecture]
        if not shutil.which(emulator) or not pathlib.Path(libraries).is_dir():
            print(f"NOT DONE: {name}: needs {emulator} and {libraries}")
            return
        command = [emulator, "-L", libraries, *command]
    path = binary.with_name("stack.json")
    path.write_text(json.dumps({**stack, "command": command}, default=str), encoding="utf-8")
    run = subprocess.run(
        ["cargo", "test", "--test", "deployment", "--", "--ignored", "--exact", TEST, "--nocapture"],
        cwd=ROOT,
        # cargo may need the proxy.
        env={**INHERITED, "REHEARSED_STACK": str(path)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    # cargo also succeeds if there is no such test.
    if run.returncode or "1 passed" not in run.stdout:
        sys.exit(f"{run.stdout}\nthe rehearsal of {name} failed")
    print(f"{name}: {re.search('rehearsed: (.*)', run.stdout)[1]}")


def add_types():
    supported = {it.cloudformation_type() for it in CloudFormationModel.__subclasses__()} & CREATE.keys()
    if supported:
        sys.exit(f"moto supports {sorted(supported)} now: remove them from CREATE")
    # moto finds subclasses of its base class, which holds no references to them, and remembers them.
    types = [add_type(kind) for kind in CREATE]
    if not set(types) <= set(parsing.get_model_list()):
        sys.exit("moto does not find the types that this script adds")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    if not (folder / PLAIN_FILE).is_file():
        sys.exit(f"{folder} has no {PLAIN_FILE}")
    sys.stdout.reconfigure(line_buffering=True)
    text = (folder / PLAIN_FILE).read_text(encoding="utf-8")
    needs_bucket = "Default" not in parsed(text)["Parameters"]["CodeBucket"]
    template = Template(text, {**GIVEN, **OWN_BUCKET} if needs_bucket else GIVEN)
    with tempfile.TemporaryDirectory() as target:
        binaries = extract(folder, template.release_name(), pathlib.Path(target))
        add_types()
        aws.start()
        deployed = create(folder, template)
        update(folder, template, deployed)
        delete(template, deployed)
        aws.server.stop()
        stack = for_test(template, deployed)
        for architecture, binary in binaries.items():
            rehearse(f"{template.release_name()}-{architecture}.zip", architecture, binary, stack)


main()
