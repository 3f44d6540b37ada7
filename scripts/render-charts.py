#!/usr/bin/env python3
"""Draws the charts of docs/performance.md from the tables in that page.

    scripts/render-charts.py           write docs/images/{cpu-per-gigabyte,peak-memory}.svg
    scripts/render-charts.py --check   fail if a chart differs from its table

Needs nothing but Python 3.9.
"""

import argparse
import html
import math
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/performance.md")
IMAGES = Path("docs/images")

WIDTH = 760
LEFT, RIGHT = 220, 90  # margins of the bars
TOP, ROW = 62, 30

STYLE = """
    text { font: 14px -apple-system, "Segoe UI", "Liberation Sans", Helvetica, Arial, sans-serif; fill: #1f2328; }
    .backdrop { fill: #f6f8fa; stroke: #d0d7de; }
    .title { font-size: 16px; font-weight: 600; }
    .detail { font-size: 12.5px; fill: #57606a; }
    .end { text-anchor: end; }
    .middle { text-anchor: middle; }
    .ours { font-weight: 700; }
    .bar { fill: #afb8c1; }
    .our-bar, .dot { fill: #e07b16; }
    .line { fill: none; stroke: #e07b16; stroke-width: 2; }
    .grid { stroke: #d0d7de; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .backdrop { fill: #161b22; stroke: #30363d; }
      .detail { fill: #a9b4c0; }
      .bar { fill: #6e7681; }
      .our-bar, .dot { fill: #f0963c; }
      .line { stroke: #f0963c; }
      .grid { stroke: #30363d; }
    }
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the charts with the tables")
    options = parser.parse_args()
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    charts = {"cpu-per-gigabyte": cpu_chart(page), "peak-memory": memory_chart(page)}
    sys.exit(check(charts) if options.check else write(charts))


def check(charts):
    """Returns 1 and says what to run if a chart does not match its table."""
    stale = [name for name, chart in charts.items() if stored(name) != chart]
    for name in stale:
        print(f"{IMAGES / name}.svg was not drawn from the current tables of {PAGE}", file=sys.stderr)
    if stale:
        print("run scripts/render-charts.py and commit docs/images", file=sys.stderr)
    return 1 if stale else 0


def stored(name):
    path = ROOT / IMAGES / f"{name}.svg"
    return path.read_text(encoding="utf-8") if path.exists() else None


def write(charts):
    for name, chart in charts.items():
        (ROOT / IMAGES / f"{name}.svg").write_text(chart, encoding="utf-8")
        print(IMAGES / f"{name}.svg")
    return 0


def tables(page, heading):
    """Returns the tables of a section: lists of rows, each a dictionary by column."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", section + "\n", re.MULTILINE):
        cells = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in block.splitlines()]
        found.append([dict(zip(cells[0], row)) for row in cells[2:]])
    return found


def cpu_chart(page):
    """Draws the CPU seconds per gigabyte of every program that reads indented JSON."""
    bars = []
    for row in tables(page, "Whole processes, side by side")[0]:
        if row["GB per CPU second"]:
            name = re.sub(r"[*`]", "", row["program"])
            bars.append((name, 1 / float(row["GB per CPU second"]), "**" in row["program"]))
    bars.sort(key=lambda bar: bar[1])
    longest = max(seconds for _, seconds, _ in bars)
    parts = []
    for at, (name, seconds, is_ours) in enumerate(bars):
        y = TOP + at * ROW
        length = max(1, (WIDTH - LEFT - RIGHT) * seconds / longest)
        ours = " ours" if is_ours else ""
        parts += [
            text(LEFT - 10, y + 15, name, f"end{ours}"),
            f'<rect class="{"our-bar" if is_ours else "bar"}" x="{LEFT}" y="{y}" width="{length:.1f}" height="20" rx="2"/>',
            text(LEFT + length + 8, y + 15, f"{seconds:.2f} s", ours.strip()),
        ]
    title = "CPU time per gigabyte of report"
    detail = "User and system time to count certificates and revoked certificates in a JSON report"
    description = "; ".join(f"{name}: {seconds:.2f} seconds" for name, seconds, _ in bars)
    return svg(TOP + len(bars) * ROW + 16, title, detail, description, parts)


def memory_chart(page):
    """Draws the peak memory of the function by the number of certificates, 10,000 of them revoked at most."""
    points = []
    for row in tables(page, "The whole function")[0]:
        counts = re.match(r"([\d,]+) certificates, ([\d,]+) revoked", row["report"])
        if counts and number(counts.group(2)) <= 10_000:
            points.append((number(counts.group(1)), number(row["peak memory"].split()[0])))
    points = sorted(dict(reversed(points)).items())
    left, right, top, bottom = 70, WIDTH - 40, TOP + 8, TOP + 208
    first, last = (math.log10(points[at][0]) for at in (0, -1))
    most = 10 * math.ceil(max(mib for _, mib in points) * 1.2 / 10)
    place = lambda certificates, mib: (
        left + 30 + (right - left - 60) * (math.log10(certificates) - first) / (last - first),
        bottom - (bottom - top) * mib / most,
    )
    parts = []
    for mib in range(0, most + 1, 10):
        y = place(points[0][0], mib)[1]
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        parts.append(text(left - 8, y + 4, f"{mib} MiB" if mib else "0", "detail end"))
    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for certificates, mib in points:
        x, y = place(certificates, mib)
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts.append(text(x, y - 11, f"{mib:.1f}", "middle"))
        parts.append(text(x, bottom + 20, short(certificates), "detail middle"))
    parts.append(text((left + right) / 2, bottom + 42, "certificates in the report", "detail middle"))
    title = "Peak memory by size of report"
    detail = "The whole function, up to 10,000 certificates revoked"
    description = "; ".join(f"{certificates:.0f} certificates: {mib:.1f} MiB" for certificates, mib in points)
    return svg(bottom + 60, title, detail, description, parts)


def number(words):
    return float(words.replace(",", ""))


def short(certificates):
    """Returns the number with commas, or in millions."""
    if certificates >= 1_000_000:
        return f"{certificates / 1_000_000:g} million"
    return f"{certificates:,.0f}"


def text(x, y, words, classes=""):
    attribute = f' class="{classes}"' if classes else ""
    return f'<text{attribute} x="{x:.1f}" y="{y:.1f}">{html.escape(words)}</text>'


def svg(height, title, detail, description, parts):
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description">',
        f'  <title id="title">{html.escape(title)}</title>',
        f'  <desc id="description">{html.escape(description)}</desc>',
        f"  <style>{STYLE}  </style>",
        f'  <rect class="backdrop" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>',
        "  " + text(20, 28, title, "title"),
        "  " + text(20, 47, detail, "detail"),
        *(f"  {part}" for part in parts),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
