"""Checks that the AWS CLI accepts the commands in the emails of docs/messages and in the code blocks of the
documentation.

The CLI checks operations and parameters before it connects: every command must get as far as a
connection, which fails because nothing listens at the endpoint.

Usage: check_commands.py AWS
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ARN = "arn:aws:acm:us-east-1:123456789012:certificate/11223344-1234-1122-2233-112233445566"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_MAX_ATTEMPTS": "1",
}
RELEASED = "pca-revocation-watch.cfn.yaml"
# The files that the documentation's commands read, besides those in docs.
FILES = {
    "pca-revocation-watch-VERSION-arm64.zip": "",
    RELEASED: "Resources: {}",
    "rules.json": '{"Rules": []}',
    "versions.json": '{"Objects": [{"Key": "key"}]}',
}


def of_email(email):
    """Returns the AWS commands of an email, as lists of words."""
    found = []
    for line in email.splitlines():
        if line.startswith("  aws "):
            found.append(line)
        elif found and line.startswith("    ") and found[-1].rstrip().endswith(("\\", "|")):
            found[-1] = found[-1].removesuffix("\\") + line
    for text in found:
        # A bar within quotes is not a pipe.
        words = shlex.split(text)
        bars = [at for at, word in enumerate(words) if word == "|"]
        for start, end in zip([0, *(at + 1 for at in bars)], [*bars, len(words)]):
            command = words[start:end]
            if command[0] == "aws":
                yield command
            elif command[0] == "xargs":
                # xargs appends what the first command prints.
                yield [*command[command.index("aws") :], ARN]


def of_page(page):
    """Returns the AWS commands in the code blocks of a page, as lists of words."""
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL):
        if language not in ("", "sh"):
            if re.search(r"^ *aws \w", block, re.MULTILINE):
                sys.exit(f"a code block of language {language} has commands; use sh:\n{block}")
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line.strip())
            if re.match(r"aws \w", line):
                command = re.sub(r"\$\w+", "us-east-1", line.removesuffix(" &&")).split(" >")[0]
                yield shlex.split(command)


def check_parameters(page, words):
    """Fails if a command sets a parameter that the template does not have."""
    if "--parameter-overrides" not in words:
        return
    template = words[words.index("--template-file") + 1]
    known = parameters(template)
    if template == RELEASED:
        known = {*parameters("template.yaml"), "CodeBucket", "CodePrefix"}
    for word in words[words.index("--parameter-overrides") + 1 :]:
        name = word.partition("=")[0]
        if not word.startswith("--") and name not in known:
            sys.exit(f"{page}: {template} has no parameter {name}: {shlex.join(words)}")


def parameters(template):
    """Returns the names of the parameters of a template."""
    text = pathlib.Path(template).read_text(encoding="utf-8") if pathlib.Path(template).exists() else ""
    section = re.search(r"^Parameters:\n(.*?)(?=^\w)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^  (\w+):", section[1], re.MULTILINE) if section else []


def run(aws, source, words, directory):
    # Version 1 of the CLI, the one on PyPI, does not have the first option; there is no such profile.
    for option in "--cli-binary-format", "--profile":
        if option in words:
            at = words.index(option)
            words = words[:at] + words[at + 2 :]
    run = subprocess.run([aws, *words[1:]], env=ENVIRONMENT, cwd=directory, capture_output=True, text=True)
    if "Could not connect to the endpoint URL" not in run.stderr:
        sys.exit(f"{source}: {shlex.join(words)}\n{run.stdout}{run.stderr}")


def main(aws):
    sources = [(path, of_email) for path in pathlib.Path("docs/messages").glob("*/email.txt")]
    sources += [(path, of_page) for path in [*pathlib.Path(".").glob("*.md"), *pathlib.Path("docs").glob("*.md")]]
    seen = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, content in FILES.items():
            pathlib.Path(directory, name).write_text(content)
        pathlib.Path(directory, "docs").symlink_to(pathlib.Path("docs").resolve())
        for path, commands in sorted(sources):
            for words in commands(path.read_text(encoding="utf-8")):
                if tuple(words) not in seen:
                    seen[tuple(words)] = path
                    check_parameters(path, words)
                    run(aws, path, words, directory)
    for kind, least in ("email.txt", 6), (".md", 10):
        found = [words for words, path in seen.items() if path.name.endswith(kind)]
        operations = {words[1:3] for words in found}
        print(f"{kind}: {len(found)} commands of {len(operations)} operations: {sorted(operations)}")
        if len(operations) < least:
            sys.exit(f"fewer operations than expected ({least}): are all commands found?")


main(str(pathlib.Path(sys.argv[1]).resolve()))
