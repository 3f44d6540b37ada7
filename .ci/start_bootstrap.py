"""Starts the function of a release's zip file against a Lambda Runtime API on loopback.

Without configuration, the function reports an error that names every missing variable, during
initialization or for its first event. Its first log line names the version and commit of the zip file.

Usage: start_bootstrap.py ZIP_FILE
"""

import http.server
import json
import os
import pathlib
import platform
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import zipfile

REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
MISSING = ("CERTIFICATE_AUTHORITY_ARNS", "REPORT_BUCKET", "TOPIC_ARN")
TIMEOUT_SECONDS = 120
# How to run a binary on a machine of the other architecture, by the name of the binary's.
EMULATORS = {
    "arm64": ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
    "x86_64": ["qemu-x86_64", "-L", "/usr/x86_64-linux-gnu"],
}
THIS_MACHINE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reports = queue.Queue()
    handed_out = threading.Event()
    over = threading.Event()

    def do_GET(self):
        if self.handed_out.is_set():
            # There is only one event: block until the end.
            self.over.wait()
            return
        self.handed_out.set()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": REQUEST_ID,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:watch",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        }
        self.reply(200, b"{}", headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reports.put((self.path, body.decode()))
        self.reply(202, b'{"status":"OK"}', {})

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start(command):
    """Runs the function until it reports, and returns path and body of the report, and the log."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    server.daemon_threads = True
    # The function is killed while it is connected.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "watch",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/watch",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/21/[$LATEST]1",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                path, body = RuntimeApi.reports.get(timeout=0.2)
                break
            except queue.Empty:
                if process.poll() is not None and RuntimeApi.reports.empty():
                    sys.exit(f"{command[-1]} exited with code {process.returncode} and reported nothing")
                if time.monotonic() > deadline:
                    sys.exit(f"{command[-1]} reported nothing within {TIMEOUT_SECONDS} s")
    finally:
        process.kill()
        log, _ = process.communicate()
        RuntimeApi.over.set()
    return path, body, log


def check_log(log, version, commit):
    lines = log.splitlines()
    try:
        first = json.loads(lines[0])
    except (IndexError, ValueError):
        sys.exit(f"the first line of the log is not JSON: {lines[:1]}")
    found = {name: first.get(name) for name in ("message", "version", "commit")}
    if found != {"message": "starting", "version": version, "commit": commit}:
        sys.exit(f"the log does not begin with version {version} and commit {commit}: {lines[0]}")
    print(lines[0])


def main(argument):
    archive = pathlib.Path(argument)
    version = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    parts = re.fullmatch(rf"pca-revocation-watch-{re.escape(version)}(.*)-(arm64|x86_64)\.zip", archive.name)
    if not parts:
        sys.exit(f"{archive.name} is not the name of a zip file of version {version}")
    commit, architecture = parts.groups()
    expected = "unknown"
    if not commit.endswith("-dirty"):
        head = ["git", "rev-parse", "HEAD"]
        expected = subprocess.run(head, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(archive) as content:
        if [(info.filename, info.external_attr >> 16) for info in content.infolist()] != [("bootstrap", 0o100755)]:
            sys.exit(f"{archive.name} does not hold one executable file named bootstrap")
        binary = pathlib.Path(content.extract("bootstrap", directory))
        binary.chmod(0o755)
        emulator = [] if architecture == THIS_MACHINE else EMULATORS[architecture]
        path, body, log = start([*emulator, str(binary)])
    expected_paths = ("/2018-06-01/runtime/init/error", f"/2018-06-01/runtime/invocation/{REQUEST_ID}/error")
    if path not in expected_paths:
        sys.exit(f"the function sent no error; it posted to {path}: {body}")
    message = json.loads(body)["errorMessage"]
    absent = [name for name in MISSING if name not in message]
    if absent:
        sys.exit(f"the error does not name {', '.join(absent)}: {message}")
    check_log(log, version, expected)
    print(f"{archive.name}: started and reported at {path}:\n{message}")


main(*sys.argv[1:])
