"""Opens a page in a real browser and says what is wrong with it: accessibility, broken words, sideways scrolling.

Each page is shown in a frame of the given width, so that no driver of browsers is needed: chromium prints the outer
document when the frames have been looked at, one after the other. Starting it costs more than looking at a page, so all
pages are given at once. axe-core is not part of the project; `M3IT_AXE` names its axe.min.js.
"""

import dataclasses
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LONGEST = 30  # letters of a word that a phone has room for; a longer one must be broken
_PATIENCE = 300.0  # seconds for all pages

_OUTER = """<!doctype html><html lang="en"><title>frames</title><body>
<pre id="found">nothing</pre>

<script>
const source = {source}, views = {views};
// Words whose letters lie on two lines: one rectangle for each line that a range touches.
function brokenWords(inner) {{
  const found = new Set(), walker = inner.createTreeWalker(inner.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {{
    const holder = node.parentElement;
    if (!holder.checkVisibility({{visibilityProperty: true}}) || holder.closest("{breakable}")) continue;
    for (const word of node.data.matchAll(/[^\\s\\-\\/]+/gu)) {{
      // Scripts without spaces and strange characters may end a line, and so must a word that is wider than a phone.
      if (word[0].length > {longest} || !/^[\\p{{Script=Latin}}\\p{{M}}\\d.,:;!?%'()]+$/u.test(word[0])) continue;
      const range = inner.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const boxes = [...range.getClientRects()].filter(box => box.width > 0);
      const lines = new Set(boxes.map(box => Math.round(box.bottom)));
      if (lines.size > 1) found.add(word[0]);
    }}
  }}
  return [...found];
}}
function tooWide(inner) {{
  const width = inner.documentElement.clientWidth;
  return [...inner.body.querySelectorAll("*")].filter(element => {{
    for (let up = element.parentElement; up; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== "visible") return false;  // it scrolls, or is cut off, inside its own box
    return element.getBoundingClientRect().right > width + 1;
  }}).slice(0, 5).map(element => element.outerHTML.slice(0, 120));
}}
async function lookAt(view) {{
  const frame = document.createElement("iframe");
  Object.assign(frame, {{width: view.width, height: 900}});
  frame.style = `border: 0; color-scheme: ${{view.scheme}}`;
  const loaded = new Promise(done => frame.onload = done);
  frame.src = view.address;
  document.body.append(frame);
  await loaded;
  const inner = frame.contentDocument, root = inner.documentElement;
  const script = inner.createElement("script");
  script.textContent = source;
  inner.head.append(script);
  inner.querySelectorAll("details").forEach(details => details.open = true);
  await new Promise(done => setTimeout(done, 300));
  const report = await frame.contentWindow.axe.run(inner, {{resultTypes: ["violations"]}});
  const findings = report.violations.map(rule => ({{
    id: rule.id, impact: rule.impact, help: rule.help, number: rule.nodes.length,
    nodes: rule.nodes.slice(0, 3).map(node => node.html.slice(0, 200)),
  }}));
  const seen = {{
    findings, broken: brokenWords(inner), scrolls: root.scrollWidth - root.clientWidth, wide: tooWide(inner),
    width: root.clientWidth, paper: getComputedStyle(inner.body).backgroundColor,
  }};
  frame.remove();
  return seen;
}}
(async () => {{
  const seen = [];
  for (const view of views) seen.push(await lookAt(view));
  document.getElementById("found").textContent = JSON.stringify(seen);
}})();
</script></html>
"""
_BREAKABLE = "code, pre"  # hashes, paths and commands may end a line anywhere


def browser() -> str | None:
    """Returns the browser that is installed, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def axe() -> pathlib.Path | None:
    """Returns axe-core's axe.min.js, or None."""
    named = pathlib.Path(os.environ.get("M3IT_AXE", ""))
    return named.resolve() if named.is_file() else None


@dataclasses.dataclass(frozen=True)
class View:
    """A page at a width in pixels; `scheme` is `light` or `dark`, `part` goes behind the `#`."""

    page: pathlib.Path
    width: int
    scheme: str = "light"
    part: str = ""


def look_at(views: Sequence[View]) -> list[dict]:
    """Returns {"findings": [...], "broken": [word], "scrolls": pixels, "wide": [...], "width", "paper"} of each view.

    "paper" is the colour of the background that the scheme gave.
    """
    program, script = browser(), axe()
    assert program and script
    with tempfile.TemporaryDirectory() as scratch:
        outer = pathlib.Path(scratch) / "outer.html"
        source = json.dumps(script.read_text("utf-8")).replace("</", "<\\/")
        copies = {page: _without_policy(page) for page in {view.page for view in views}}
        shown = [
            {"width": view.width, "scheme": view.scheme, "address": f"{copies[view.page].as_uri()}#{view.part}"}
            for view in views
        ]
        parts = {"source": source, "views": json.dumps(shown), "breakable": _BREAKABLE, "longest": _LONGEST}
        outer.write_text(_OUTER.format(**parts), "utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
        options += ["--hide-scrollbars", f"--user-data-dir={scratch}/profile", "--window-size=1600,1000"]
        options += [f"--virtual-time-budget={20_000 * len(views)}"]
        done = subprocess.run(
            [program, *options, outer.as_uri()], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        for copy in copies.values():
            copy.unlink()
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1] != "nothing", done.stderr[-2000:]
    return list(json.loads(html.unescape(found[1])))


def _without_policy(page: pathlib.Path) -> pathlib.Path:
    """Writes a copy in which axe may run: it runs inside the page, which a page's own policy rightly forbids."""
    copy = page.with_name(f"{page.stem}-without-policy.html").resolve()
    copy.write_text(re.sub(r"<meta[^>]*Content-Security-Policy[^>]*>", "", page.read_text("utf-8")), "utf-8")
    return copy
