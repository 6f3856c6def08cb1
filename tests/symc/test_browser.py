"""Protects the pages in a real browser: they open without an error, what is clicked is followed from the user's line to
assembly, search finds, and nothing is wider than a narrow window."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import browse, needs_browser
from commands import NET, SHAPES, ran

pytestmark = needs_browser

#: every tab shows something; a value is followed from the text
REPORT = """
  const bounds = document.getElementById("passes").getBoundingClientRect();
  const now = document.querySelector("#passes .on").getBoundingClientRect();
  seen["in sight"] = now.right <= bounds.right + 1 && now.left >= bounds.left - 1 && now.bottom <= bounds.bottom + 1;
  for (const tab of ["Diff", "Graph", "Memory", "Kernels", "Rewrites", "IR"]) {
    button(tab).click(); await turn();
    seen[tab] = document.getElementById("view").textContent.trim().length;
    if (tab === "Diff") seen.gaps = all("pre.gap").map(p => p.textContent);
  }
  await type(document.getElementById("search"), "fc2");
  seen.found = document.getElementById("count").textContent;
  seen.hits = all("pre.hit").length;
  await type(document.getElementById("search"), "");
  all("#passes .pass").find(p => p.textContent.startsWith("decompose")).click(); button("IR").click(); await turn();
  all("#view pre b").find(b => b.textContent === "%relu1").click(); await turn();
  const life = document.getElementById("life");
  seen.title = life.querySelector("h3").textContent;
  seen.line = life.querySelector("pre.here").textContent;
  seen.levels = all("h4", life).map(h => h.textContent);
  seen.marked = all("#view pre.sel").length;
  const loops = all("h4", life).find(h => h.textContent.startsWith("tile")).nextSibling;
  loops.click(); await turn();
  seen.loops = all("#view pre").map(p => p.textContent).join("\\n");
  for (const part of ["loops", "LLVM", "assembly"]) {
    button(part, life).click(); await turn();
    seen["code " + part] = all("#view pre").map(p => p.textContent).join("\\n");
  }
  all("#view .bar button.link").find(b => b.textContent === "fc1").click(); await turn();
  seen.back = life.querySelector("pre.here").textContent;
  all("#passes .pass").find(p => p.textContent.startsWith("tile")).click(); button("IR").click(); await turn();
  all("#view pre b").find(b => b.textContent === "%fc1_bias").click(); await turn();
  seen.readers = all("p.kernel code", life).map(c => c.textContent);
  button("Graph").click(); await turn();
  await point(all("#view g[data-symbol=fc2] rect")[0]);
  seen.boxed = life.querySelector("h3").textContent;
  await type(document.getElementById("search"), "softmax");
  seen.circled = all("#view g.found").length;
  button("fit").click(); button("+").click(); await turn();
  seen.zoomed = document.querySelector("#view .sheet").style.transform;
  button("Memory").click(); await turn();
  await point(all("#view rect[data-value]")[0]);
  seen.remembered = life.querySelector("h3").textContent;
  button("Kernels").click(); await turn();
  all("#view th").find(t => t.textContent === "kernel").click(); await turn();
  seen.first = document.querySelector("#view tbody td").textContent;
  document.querySelector("#view tbody tr").click(); await turn();
  seen.opened = document.querySelector("#view .bar b").textContent;
  all("#passes .pass").find(p => p.textContent.startsWith("tile")).click(); button("Rewrites").click(); await turn();
  button("→").click(); await turn();
  seen.stepped = document.querySelector("#view .bar").textContent;
  seen.rewritten = all("#view pre.add").length;
"""


@pytest.mark.parametrize("width", [1400, 700])
def test_a_report_is_followed_from_line_to_assembly(capsys, tmp_path: Path, width: int) -> None:
    (tmp_path / "net.py").write_text(NET)
    page = tmp_path / "report.html"
    ran(capsys, "report", f"{tmp_path / 'net.py'}:softmax", "--train", *SHAPES, "-o", str(page))
    seen = browse(page, REPORT, width)
    assert all(seen[tab] > 20 for tab in ("IR", "Diff", "Graph", "Memory", "Kernels", "Rewrites"))
    assert all(int(gap.split()[1]) > 2 for gap in seen["gaps"])
    assert seen["in sight"]
    assert seen["found"].startswith("1 of ") and seen["hits"] > 0 and seen["marked"] > 0
    assert seen["title"] == "%relu1" and 'name="relu1"' in seen["line"]
    levels = " ".join(seen["levels"])
    for level in ("input (symbol)", "decompose (tensor)", "fuse (fused)", "plan_memory (planned)", "tile (loop)"):
        assert level in levels
    assert "%relu1" in seen["loops"]
    assert "for %" in seen["code loops"] and "ModuleID" in seen["code LLVM"] and ".p2align" in seen["code assembly"]
    assert 'name="fc1"' in seen["back"] and seen["boxed"] == "fc2" and seen["circled"] == 1
    assert "scale(" in seen["zoomed"] and seen["remembered"].startswith("%")
    assert "@k0.dot_relu" in seen["readers"]
    assert seen["opened"] == seen["first"] and "2 of " in seen["stepped"] and seen["rewritten"] > 0
    assert seen["overflow"] <= 0


def test_a_picture_is_searched(capsys, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    page = tmp_path / "net.html"
    ran(capsys, "dump", f"{tmp_path / 'net.py'}:softmax", "--format=html", *SHAPES, "-o", str(page))
    script = """
      await type(document.getElementById("search"), "relu");
      seen.found = all("g.found").map(g => g.dataset.key);
      seen.moved = document.querySelector(".sheet").style.transform;
    """
    seen = browse(page, script, 700, ready=False)
    assert seen["found"] == ["relu1"] and "translate" in seen["moved"] and seen["overflow"] <= 0
