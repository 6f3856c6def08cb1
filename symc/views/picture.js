"use strict";
const $ = id => document.getElementById(id), picture = canvasOf($("view")), search = $("search");
$("out").onclick = () => picture.zoom(1 / 1.4); $("in").onclick = () => picture.zoom(1.4); $("fit").onclick = picture.fit;
let found = [], at = 0;
const show = () => { if (found.length) picture.show(found[at]); $("count").textContent = search.value ? `${found.length ? at + 1 : 0} of ${found.length}` : ""; };
search.addEventListener("input", () => { const text = search.value.toLowerCase(); found = []; at = 0;
  for (const g of picture.svg.querySelectorAll("g[data-key]")) { const hit = text && g.textContent.toLowerCase().includes(text);
    g.classList.toggle("found", !!hit); if (hit) found.push(g); }
  show(); });
search.addEventListener("keydown", e => { if (e.key === "Enter" && found.length) { at = (at + 1) % found.length; show(); } });
