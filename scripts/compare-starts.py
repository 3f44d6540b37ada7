#!/usr/bin/env python3
"""Compares the cold starts of function binaries, side by side.

    scripts/compare-starts.py [--starts N] BOOTSTRAP [BOOTSTRAP...]

Starts each binary N times under a Lambda Runtime API on loopback. The binaries take turns, in an order
that is reversed every round. Each start is configured as on Lambda and gets one event that the function
refuses without an AWS call, so that only the start is measured:

    ready      time from the start of the process until it asks for the first event
    response   time until its response to that event
    CPU        user and system time of the process until then
    memory     peak resident memory until then

Prints the medians, the quartiles of `response`, and the sizes of the files. Linux only.
"""

import argparse
import http.server
import os
import signal
import statistics
import subprocess
import threading
import time
from pathlib import Path

EVENT = b'{"certificateAuthorityArns": "not a list"}'
REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
TIMEOUT_SECONDS = 60
CA = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566"


class Start(http.server.ThreadingHTTPServer):
    """The Runtime API for one start, and what it sees."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RuntimeApi)
        self.ready_at = None
        self.responded_at = None
        self.path = None
        self.responded = threading.Event()
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def end(self):
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """Ignores connections that end because the process was killed."""


class RuntimeApi(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        start = self.server
        if start.ready_at is not None:
            # There is only one event: block until the end.
            start.over.wait()
            return
        start.ready_at = time.monotonic()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": REQUEST_ID,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 900) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:watch",
        }
        self.reply(200, EVENT, headers)

    def do_POST(self):
        start = self.server
        start.responded_at = time.monotonic()
        start.path = self.path
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.reply(202, b"{}", {})
        start.responded.set()

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("binaries", nargs="+", metavar="BOOTSTRAP", type=Path)
    options = parser.parse_args()
    measured = {binary: [] for binary in options.binaries}
    for number in range(-1, options.starts):
        order = options.binaries if number % 2 else options.binaries[::-1]
        for binary in order:
            figures = start(binary)
            # The first round reads the files into the page cache.
            if number >= 0:
                measured[binary].append(figures)
    print("| binary | size, bytes | ready, ms | response, ms | quartiles | CPU, ms | memory, MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for binary, figures in measured.items():
        ready, response, cpu, memory = (list(column) for column in zip(*figures))
        low, _, high = statistics.quantiles(response, n=4)
        print(
            f"| {binary.name} | {binary.stat().st_size:,} | {statistics.median(ready):.1f} "
            f"| {statistics.median(response):.1f} | {low:.1f} to {high:.1f} "
            f"| {statistics.median(cpu):.1f} | {statistics.median(memory):.1f} |"
        )


def start(binary):
    """Starts the binary once; returns milliseconds until ready and response, CPU milliseconds, and MiB."""
    seen = Start()
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{seen.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": "watch",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "CERTIFICATE_AUTHORITY_ARNS": CA,
        "REPORT_BUCKET": "amzn-s3-demo-bucket",
        "TOPIC_ARN": "arn:aws:sns:us-east-1:123456789012:revocations",
    }
    started_at = time.monotonic()
    process = subprocess.Popen([binary.resolve()], env=environment, stdout=subprocess.DEVNULL)
    responded = seen.responded.wait(TIMEOUT_SECONDS)
    memory = peak_mib(process.pid)
    process.send_signal(signal.SIGKILL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = -signal.SIGKILL
    seen.end()
    if not responded:
        raise SystemExit(f"{binary} sent no response within {TIMEOUT_SECONDS} s")
    if not seen.path.endswith(f"/{REQUEST_ID}/error"):
        raise SystemExit(f"{binary} posted to {seen.path}; it was expected to refuse the event")
    cpu = usage.ru_utime + usage.ru_stime
    ready, response = seen.ready_at - started_at, seen.responded_at - started_at
    return ready * 1000, response * 1000, cpu * 1000, memory


def peak_mib(process):
    """Returns the peak resident memory (`VmHWM`, proc(5)); that of wait4(2) may be that of this program."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


main()
