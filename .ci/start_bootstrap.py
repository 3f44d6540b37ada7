"""Starts a built function without configuration against a Lambda Runtime API on loopback.

Succeeds if the function reports an error that names every missing variable, either during
initialization or for its first event.

Usage: start_bootstrap.py [EMULATOR [ARGUMENT...]] BOOTSTRAP
"""

import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time

REQUEST_ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
MISSING = ("CERTIFICATE_AUTHORITY_ARNS", "REPORT_BUCKET", "TOPIC_ARN")
TIMEOUT_SECONDS = 120


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


def main(command):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    server.daemon_threads = True
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
    process = subprocess.Popen(command, env=environment)
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
        process.wait()
        RuntimeApi.over.set()
    expected = ("/2018-06-01/runtime/init/error", f"/2018-06-01/runtime/invocation/{REQUEST_ID}/error")
    if path not in expected:
        sys.exit(f"{command[-1]} sent no error; it posted to {path}: {body}")
    message = json.loads(body)["errorMessage"]
    absent = [name for name in MISSING if name not in message]
    if absent:
        sys.exit(f"the error does not name {', '.join(absent)}: {message}")
    print(f"{command[-1]} started and reported at {path}:\n{message}")


main(sys.argv[1:])
