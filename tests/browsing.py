"""Pages in a headless Chromium: a script in a copy of the page clicks and types as a user does, and says what it
saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt install chromium)")

#: milliseconds of the page's own clock, which goes as fast as the page is done with what it does; what it waits for
#: outside of that clock (its data being unpacked) may take many of its turns
BUDGET = 20_000_000

#: what scripts have at hand; `seen` is what they give back
_BEFORE = """
const seen = {}, wrong = [];
addEventListener("error", e => wrong.push(String(e.message)));
addEventListener("unhandledrejection", e => wrong.push(String(e.reason)));
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const button = (text, inside = document) => all("button", inside).find(b => b.textContent === text);
const turn = (ms = 20) => new Promise(done => setTimeout(done, ms));
const type = async (field, text) => { field.value = text; field.dispatchEvent(new Event("input")); await turn(); };
const point = async (target) => {
  const at = target.getBoundingClientRect();
  const where = { clientX: at.x + 5, clientY: at.y + 5, bubbles: true, buttons: 1 };
  for (const kind of ["pointerdown", "pointerup"]) target.dispatchEvent(new PointerEvent(kind, where));
  await turn();
};
"""


def browse(page: Path, script: str, width: int = 1400, ready: bool = True) -> dict[str, Any]:
    """What the script `seen` on the page (`ready`: when it says so itself). AssertionError for errors of the page."""
    assert BROWSER is not None
    waiting = "while (!document.documentElement.dataset.ready) await turn(500);" if ready else "await turn();"
    body = f"""<script>{_BEFORE}
(async () => {{ {waiting}
  try {{ {script} }} catch (problem) {{ wrong.push(String(problem.stack || problem)); }}
  seen.overflow = document.documentElement.scrollWidth - innerWidth;
  const out = document.createElement("pre"); out.id = "seen"; out.textContent = JSON.stringify({{ seen, wrong }});
  document.body.replaceChildren(out);
}})();
</script>"""
    copy = page.with_name(f"{page.stem}-driven.html")
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"{body}</body>"), encoding="utf-8")
    options = [
        "--headless",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--window-size={width},900",
        "--dump-dom",
    ]
    options += [
        f"--virtual-time-budget={BUDGET}",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    if os.geteuid() == 0:  # its sandbox is not for root
        options.append("--no-sandbox")
    done = subprocess.run([BROWSER, *options, copy.as_uri()], capture_output=True, text=True, timeout=300)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found, f"the page did not finish: {done.stderr[-2000:]}"
    said = json.loads(unescape(found.group(1)))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said["wrong"] and not console, (said["wrong"], console)
    result: dict[str, Any] = said["seen"]
    return result
