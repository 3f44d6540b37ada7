#!/usr/bin/env python3
"""Renders the pictures of the README from the sample messages in docs/messages/key-compromise.

    scripts/render-pictures.py           render docs/images/{email,chat-card}.png
    scripts/render-pictures.py --check   fail if a picture is older than its source text

The email is drawn the way a mail client shows plain text, the chat card the way Slack shows a
custom notification of Amazon Q Developer in chat applications. All words in the pictures come from
the messages, apart from the heading "Next steps"; senders are drawn as gray bars.

Beside each picture, a .sha256 file holds the hashes of its source texts in the format of
`sha256sum`. `--check` compares them and needs nothing but Python 3.9.

Rendering needs Chromium and three fonts. On Debian:

    apt-get install chromium fonts-liberation fonts-dejavu-core fonts-noto-color-emoji

It also uses `pngquant`, if installed, to halve the size of the files.
"""

import argparse
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MESSAGE = Path("docs/messages/key-compromise")
IMAGES = Path("docs/images")

SUBJECT = MESSAGE / "subject.txt"
EMAIL = MESSAGE / "email.txt"
CHAT_CARD = MESSAGE / "chat-card.json"
SOURCES = {"email": [SUBJECT, EMAIL], "chat-card": [CHAT_CARD]}

SANS = "'Liberation Sans'"  # fonts-liberation
MONO = "'DejaVu Sans Mono'"  # fonts-dejavu-core
EMOJI = "'Noto Color Emoji'"  # fonts-noto-color-emoji

WIDTH = 800  # CSS pixels
SCALE = 2  # device pixels per CSS pixel
COLORS = "128"
TIMEOUT_SECONDS = 120

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>picture</title>
<style>
  * {{ box-sizing: border-box; margin: 0; padding: 0; }}
  html, body {{ overflow: hidden; background: #eef0f3; color: #1f2328; }}
  body {{ padding: 16px; font-family: {sans}, {emoji}; line-height: 1.45; }}
  .window {{ background: #fff; border: 1px solid #d0d7de; border-radius: 10px; overflow: hidden; }}
  .avatar {{ flex: none; width: 36px; height: 36px; background: #c3cad2; }}
  .long {{ word-break: break-all; }}
  .bar {{ height: 9px; border-radius: 5px; background: #d5dae0; }}
  {style}
</style>
<body>{body}</body>
</html>
"""

EMAIL_STYLE = """
  .toolbar { display: flex; gap: 8px; padding: 12px 16px; background: #f6f8fa; border-bottom: 1px solid #d0d7de; }
  .dot { width: 11px; height: 11px; border-radius: 50%; background: #d0d7de; }
  h1 { padding: 18px 24px 14px; font-size: 19px; line-height: 1.35; overflow-wrap: anywhere; }
  .sender { display: flex; align-items: center; gap: 12px; padding: 0 24px 16px; border-bottom: 1px solid #eaeef2; }
  .avatar { border-radius: 50%; }
  pre { padding: 18px 24px 22px; font: 13px/1.5 MONO, EMOJI; white-space: pre-wrap; overflow-wrap: anywhere; }
""".replace("MONO", MONO).replace("EMOJI", EMOJI)

EMAIL_BODY = """
<div class="window">
  <div class="toolbar"><div class="dot"></div><div class="dot"></div><div class="dot"></div></div>
  <h1>{subject}</h1>
  <div class="sender">
    <div class="avatar"></div>
    <div><div class="bar" style="width: 150px"></div><div class="bar" style="width: 90px; margin-top: 8px"></div></div>
  </div>
  <pre>{text}</pre>
</div>
"""

CARD_STYLE = """
  .window { padding: 18px 22px 20px; }
  .message { display: flex; gap: 12px; }
  .avatar { border-radius: 8px; }
  .content { flex: 1; min-width: 0; font-size: 15px; overflow-wrap: anywhere; }
  .attachment { margin-top: 12px; padding: 2px 0 2px 14px; border-left: 4px solid COLOR; }
  h1 { font-size: 15px; margin-bottom: 8px; }
  .description { white-space: pre-wrap; }
  h2 { margin: 12px 0 2px; font-size: 15px; }
  ul { padding-left: 20px; }
  code { padding: 1px 4px; font: 13px/1 MONO; color: #c01343; background: #f6f8fa;
         border: 1px solid #d8dee4; border-radius: 4px; }
  .link { color: #1264a3; }
  .keywords { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 14px; }
  .keyword { padding: 1px 9px; font-size: 12.5px; color: #57606a; border: 1px solid #d0d7de; border-radius: 10px; }
""".replace("MONO", MONO)

CARD_BODY = """
<div class="window"><div class="message">
  <div class="avatar"></div>
  <div class="content">
    <div class="bar" style="width: 130px; margin-top: 5px"></div>
    <div class="attachment">
      <h1>{title}</h1>
      <div class="description">{description}</div>
      {next_steps}
      <div class="keywords">{keywords}</div>
    </div>
  </div>
</div></div>
"""

SEVERITY_COLORS = {"critical": "#d1242f", "high": "#e16f24", "low": "#8c959f"}


def main():
    options = parser().parse_args()
    sys.exit(check() if options.check else render_all())


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the stored hashes with the source texts")
    return parser


def check():
    """Returns 1 and says what to run if a picture does not match its source text."""
    stale = [name for name in SOURCES if stored_hashes(name) != source_hashes(name)]
    for name in stale:
        texts = ", ".join(str(path) for path in SOURCES[name])
        print(f"{IMAGES / name}.png was not rendered from the current {texts}", file=sys.stderr)
    if stale:
        print("run scripts/render-pictures.py and commit docs/images", file=sys.stderr)
    return 1 if stale else 0


def stored_hashes(name):
    """Returns the content of the picture's .sha256 file, or None if it or the picture is missing."""
    path = ROOT / IMAGES / f"{name}.sha256"
    picture = ROOT / IMAGES / f"{name}.png"
    return path.read_text(encoding="utf-8") if path.exists() and picture.exists() else None


def source_hashes(name):
    """Returns one line per source text, in the format of `sha256sum`."""
    lines = []
    for path in SOURCES[name]:
        file = ROOT / path
        digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "missing"
        lines.append(f"{digest}  {path}\n")
    return "".join(lines)


def render_all():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        print("chromium is not installed; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    (ROOT / IMAGES).mkdir(parents=True, exist_ok=True)
    for name, page in (("email", email_page()), ("chat-card", card_page())):
        picture = ROOT / IMAGES / f"{name}.png"
        render(chromium, page, picture)
        (ROOT / IMAGES / f"{name}.sha256").write_text(source_hashes(name), encoding="utf-8")
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size / 1024:.0f} KiB")
    return 0


def email_page():
    text = re.sub(r"\S{60,}", r'<span class="long">\g<0></span>', html.escape(read(EMAIL).rstrip()))
    body = EMAIL_BODY.format(subject=html.escape(read(SUBJECT).strip()), text=text)
    return PAGE.format(sans=SANS, emoji=EMOJI, style=EMAIL_STYLE, body=body)


def card_page():
    content = json.loads(read(CHAT_CARD))["content"]
    keywords = content.get("keywords", [])
    color = next((SEVERITY_COLORS[word] for word in keywords if word in SEVERITY_COLORS), SEVERITY_COLORS["low"])
    steps = "".join(f"<li>{markdown(step)}</li>" for step in content.get("nextSteps", []))
    body = CARD_BODY.format(
        title=markdown(content["title"]),
        description=markdown(content["description"]),
        next_steps=f"<h2>Next steps</h2><ul>{steps}</ul>" if steps else "",
        keywords="".join(f'<span class="keyword">{html.escape(word)}</span>' for word in keywords),
    )
    return PAGE.format(sans=SANS, emoji=EMOJI, style=CARD_STYLE.replace("COLOR", color), body=body)


def markdown(text):
    """Returns `text` as HTML with the markup that chat clients show: code, bold, URLs."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(
        f"<code>{html.escape(part)}</code>" if index % 2 else inline(part) for index, part in enumerate(parts)
    )


def inline(text):
    text = html.escape(text)
    text = re.sub(r"(?<![\w*])\*{1,2}(\S(?:[^*\n]*\S)?)\*{1,2}(?![\w*])", r"<strong>\1</strong>", text)
    return re.sub(r"https://\S+", r'<span class="link long">\g<0></span>', text)


def read(path):
    return (ROOT / path).read_text(encoding="utf-8")


def render(chromium, page, picture):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "page.html"
        file.write_text(page, encoding="utf-8")
        height = page_height(chromium, page, Path(directory))
        run(chromium, directory, [
            f"--window-size={WIDTH},{height}", f"--force-device-scale-factor={SCALE}",
            f"--screenshot={picture}", file.as_uri(),
        ])
    if not picture.exists():
        sys.exit(f"chromium did not write {picture}")
    if pngquant := shutil.which("pngquant"):
        options = ["--nofs", "--strip", "--speed", "1", "--force", "--output", picture]
        subprocess.run([pngquant, *options, COLORS, picture], check=True)


def page_height(chromium, page, directory):
    """Returns the height of the page's content in CSS pixels, laid out at full width."""
    measure = "<script>document.title = 'height ' + Math.ceil(document.body.getBoundingClientRect().height)</script>"
    file = directory / "measure.html"
    file.write_text(page.replace("</body>", f"{measure}</body>"), encoding="utf-8")
    dom = run(chromium, directory, [f"--window-size={WIDTH},600", "--dump-dom", file.as_uri()])
    return int(re.search(r"<title>height (\d+)</title>", dom).group(1))


def run(chromium, directory, arguments):
    # As root, and in containers, Chromium's sandbox does not start. The page holds no script but ours.
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--hide-scrollbars", "--disable-lcd-text", f"--user-data-dir={directory}/profile", *arguments,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if result.returncode != 0:
        sys.exit(f"chromium failed: {result.stderr.strip()}")
    return result.stdout


if __name__ == "__main__":
    main()
