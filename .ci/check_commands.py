"""Checks that the AWS CLI accepts the commands in the emails of docs/messages.

The CLI checks operations and parameters before it connects: every command must get as far as a
connection, which fails because nothing listens at the endpoint.

Usage: check_commands.py AWS
"""

import os
import pathlib
import shlex
import subprocess
import sys

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


def commands(email):
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


def main(aws):
    seen = set()
    for email in sorted(pathlib.Path("docs/messages").glob("*/email.txt")):
        for words in commands(email.read_text()):
            if tuple(words) in seen:
                continue
            seen.add(tuple(words))
            run = subprocess.run([aws, *words[1:]], env=ENVIRONMENT, capture_output=True, text=True)
            if "Could not connect to the endpoint URL" not in run.stderr:
                sys.exit(f"{email}: {shlex.join(words)}\n{run.stdout}{run.stderr}")
    operations = {words[1:3] for words in seen}
    print(f"{len(seen)} commands of {len(operations)} operations: {sorted(operations)}")
    if len(operations) < 6:
        sys.exit("docs/messages shows fewer operations than the messages have")


main(sys.argv[1])
