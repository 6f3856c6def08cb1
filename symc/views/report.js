"use strict";
(async () => {
const $ = id => document.getElementById(id), ROW = 17;
const make = (tag, text, cls) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls; return e; };
const bytes = Uint8Array.from(atob($("data").textContent.trim()), c => c.charCodeAt(0));
const data = JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
$("data").remove();
const stages = data.stages, view = $("view"), search = $("search");
let stage = stages.length - 1, tab = "IR", chosen = null, redraw = () => {};

// ---- texts: lines without origin numbers, the Symbols of each line
const parsed = new Map();
function read(at) {
  while (stages[at].text === null) at--;
  if (parsed.has(at)) return parsed.get(at);
  const table = new Map(), made = { lines: [], loc: [], table };
  const raw = stages[at].text.split("\n");
  for (const line of raw) {
    const entry = /^!(\d+) = (.*)$/.exec(line);
    if (entry) table.set(entry[1], origin(entry[2], table));
  }
  for (const line of raw) {
    if (/^!\d+ = /.test(line)) continue;
    const loc = / !(\d+)(?: \{|,)?$/.exec(line);
    made.loc.push(loc ? loc[1] : "");
    made.lines.push(line.replace(/ !\d+(?=[,) ]|$)/g, ""));
  }
  parsed.set(at, made);
  return made;
}
function origin(text, table) {
  const sym = /^sym ("(?:[^"\\]|\\.)*") (\S+)(?: at ("(?:[^"\\]|\\.)*"):(\d+))?$/.exec(text);
  if (sym) { const name = JSON.parse(sym[1]);
    return { by: "", symbols: new Map([[name, { name, op: sym[2], file: sym[3] ? JSON.parse(sym[3]) : "", line: +(sym[4] || 0) }]]) }; }
  const symbols = new Map();
  for (const [, n] of text.matchAll(/!(\d+)/g)) for (const [k, v] of table.get(n)?.symbols || []) symbols.set(k, v);
  return { by: text.slice(0, text.indexOf("(")), symbols };
}
const symbolsAt = (text, i) => text.table.get(text.loc[i])?.symbols || new Map();

// ---- lines that exist only while they are seen
function list(lines, paint, start = 0) {
  const box = make("div", undefined, "list"), shown = new Map();
  box.style.height = lines.length * ROW + "px";
  box.style.width = Math.min(4000, lines.reduce((w, l) => Math.max(w, l.text.length), 0)) + 4 + "ch";
  view.append(box);
  redraw = (all) => {
    if (all) { for (const e of shown.values()) e.remove(); shown.clear(); }
    const top = view.scrollTop - box.offsetTop, from = Math.max(0, Math.floor(top / ROW) - 20),
      to = Math.min(lines.length, from + Math.ceil(view.clientHeight / ROW) + 40);
    for (const [i, e] of shown) if (i < from || i >= to) { e.remove(); shown.delete(i); }
    for (let i = from; i < to; i++) if (!shown.has(i)) {
      const e = make("pre", undefined, lines[i].cls); e.style.top = i * ROW + "px"; paint(e, lines[i], i);
      if (wanted && lines[i].text.toLowerCase().includes(wanted)) e.classList.add("hit");
      else if (chosen && mentions(lines[i].text)) e.classList.add("sel");
      shown.set(i, e); box.append(e); }
  };
  go = i => { view.scrollTop = Math.max(0, box.offsetTop + i * ROW - view.clientHeight / 3); redraw(true); };
  hits = text => lines.flatMap((l, i) => l.text.toLowerCase().includes(text) ? [i] : []);
  redraw();
  if (start) go(start);
}
/** Whether a line has the chosen value or kernel. */
function mentions(text) {
  for (let at = text.indexOf(chosen); at >= 0; at = text.indexOf(chosen, at + 1)) {
    const before = text[at - 1] === '"' ? text[at - 2] : text[at - 1], after = text[at + chosen.length] ?? " ";
    if ((before === "%" || before === "@") && !/[\w.$\/-]/.test(after)) return true;
  }
  return false;
}
function paintLine(e, line) {
  for (const part of line.text.split(/(%(?:"(?:[^"\\]|\\.)*"|[\w.$/-]+)|@[\w.$/-]+)/)) {
    if (part[0] === "%" || part[0] === "@") { const b = make("b", part); b.onclick = () => choose(part, line.at, line.stage); e.append(b); }
    else e.append(part);
  }
  const symbols = line.symbols?.();
  if (symbols?.size) { const [first] = symbols.values();
    e.append(make("i", `  // ${first.name}${first.line ? " " + first.file.split("/").pop() + ":" + first.line : ""}`)); }
}

// ---- a diff: unique common lines are the anchors, what is between them is compared again
function diff(a, b) {
  const out = [];
  const walk = (a0, a1, b0, b1) => {
    while (a0 < a1 && b0 < b1 && a[a0] === b[b0]) { out.push([" ", b0]); a0++; b0++; }
    let tail = 0;
    while (a0 < a1 - tail && b0 < b1 - tail && a[a1 - 1 - tail] === b[b1 - 1 - tail]) tail++;
    a1 -= tail; b1 -= tail;
    const seen = new Map();
    for (let i = a0; i < a1; i++) seen.set(a[i], seen.has(a[i]) ? -1 : i);
    const inB = new Map();
    for (let j = b0; j < b1; j++) inB.set(b[j], inB.has(b[j]) ? -1 : j);
    const pairs = [];
    for (let j = b0; j < b1; j++) if (inB.get(b[j]) === j && seen.get(b[j]) >= 0) pairs.push([seen.get(b[j]), j]);
    const piles = [], back = new Array(pairs.length);
    pairs.forEach(([i], n) => { let lo = 0, hi = piles.length;
      while (lo < hi) { const m = (lo + hi) >> 1; if (pairs[piles[m]][0] < i) lo = m + 1; else hi = m; }
      back[n] = lo ? piles[lo - 1] : -1; piles[lo] = n; });
    const anchors = [];
    for (let n = piles.length ? piles[piles.length - 1] : -1; n >= 0; n = back[n]) anchors.push(pairs[n]);
    anchors.reverse();
    if (!anchors.length) { for (let i = a0; i < a1; i++) out.push(["-", i]); for (let j = b0; j < b1; j++) out.push(["+", j]); }
    else { let i = a0, j = b0;
      for (const [x, y] of anchors) { walk(i, x, j, y); out.push([" ", y]); i = x + 1; j = y + 1; }
      walk(i, a1, j, b1); }
    for (let t = 0; t < tail; t++) out.push([" ", b1 + t]);
  };
  walk(0, a.length, 0, b.length);
  return out;
}

// ---- tabs
let go = () => {}, hits = () => [], wanted = "", hitAt = 0, waiting = null;
const TABS = { IR: showText, Diff: showDiff, Graph: showGraph, Memory: showMemory, Kernels: showKernels, Rewrites: showActions };
function show() {
  view.replaceChildren(); view.classList.remove("filled"); view.scrollTop = 0; redraw = () => {}; go = () => {}; hits = () => [];
  for (const b of $("tabs").children) { b.classList.toggle("on", b.textContent === tab); b.setAttribute("aria-pressed", b.textContent === tab); }
  const passes = $("passes");
  [...passes.children].forEach((e, i) => e.classList.toggle("on", i === stage));
  const now = passes.children[stage].getBoundingClientRect(), frame = passes.getBoundingClientRect();
  if (now.bottom > frame.bottom || now.top < frame.top) passes.scrollTop += now.bottom - frame.bottom + 30;
  if (now.right > frame.right || now.left < frame.left) passes.scrollLeft += now.left - frame.left - 30;
  TABS[tab]();
  if (wanted) find(false);
}
const lineOf = (text, i, at, cls, mark = "") => ({ text: mark + text.lines[i], at: i, stage: at, cls, symbols: () => symbolsAt(text, i) });
function showText() {
  const text = read(stage);
  list(text.lines.map((_, i) => lineOf(text, i, stage)), paintLine, waiting ?? 0);
  waiting = null;
}
function showDiff() {
  if (!stage) { view.append(make("div", "The program as it was given: there is nothing before it.", "bar")); return; }
  const before = read(stage - 1), after = read(stage), rows = [];
  const edits = diff(before.lines, after.lines), near = new Uint8Array(edits.length);
  edits.forEach(([k], n) => { if (k !== " ") for (let m = Math.max(0, n - 3); m <= n + 3 && m < near.length; m++) near[m] = 1; });
  let skipped = [], add = 0, del = 0;
  const gap = () => {  // a line or two are as long as what would say that they are left out
    if (skipped.length > 2) rows.push({ text: `… ${skipped.length} lines alike`, cls: "gap" });
    else for (const i of skipped) rows.push(lineOf(after, i, stage, "", "  "));
    skipped = []; };
  edits.forEach(([k, i], n) => {
    if (!near[n]) { skipped.push(i); return; }
    gap();
    if (k === "-") { del++; rows.push(lineOf(before, i, stage - 1, "del", "- ")); }
    else { if (k === "+") add++; rows.push(lineOf(after, i, stage, k === "+" ? "add" : "", k + " ")); }
  });
  gap();
  view.append(make("div", `${stages[stage - 1].name} → ${stages[stage].name}: ${del} lines gone, ${add} new`, "bar"));
  list(rows, paintLine);
}
/** A picture to zoom and to move, with its buttons in `bar`. */
function canvas(svgText, bar, onClick) {
  view.classList.add("filled");
  const box = make("div", undefined, "canvas"); view.append(box);
  box.innerHTML = svgText;
  const shown = canvasOf(box, onClick);
  for (const [text, title, act] of [["−", "zoom out", () => shown.zoom(1 / 1.4)], ["+", "zoom in", () => shown.zoom(1.4)], ["fit", "all of it", shown.fit], ["1:1", "full size", () => shown.start(1)]]) {
    const b = make("button", text, "small"); b.title = title; b.onclick = act; bar.prepend(b); }
  const items = [...shown.svg.querySelectorAll("g[data-key],rect.value")];
  hits = text => { for (const i of items) i.classList.remove("found"); return items.filter(g => g.textContent.toLowerCase().includes(text)); };
  go = g => { for (const i of items) i.classList.toggle("found", i === g); shown.show(g); };
}
let picture = 0;
function showGraph() {
  const bar = make("div", undefined, "bar"), pick = make("select");
  pick.setAttribute("aria-label", "picture");
  data.pictures.forEach((p, i) => { const o = make("option", p.name); o.value = i; pick.append(o); });
  pick.value = picture; pick.onchange = () => { picture = +pick.value; show(); };
  bar.append(pick, make("small", "wheel: zoom, drag: move, click: follow")); view.append(bar);
  if (!data.pictures.length) return;
  canvas(data.pictures[picture].svg, bar, target => { const g = target.closest("g[data-key]"); if (!g) return;
    const key = g.dataset.key;
    if (key.startsWith("fold ")) { picture = Math.min(picture + 1, data.pictures.length - 1); wanted = g.dataset.symbol.toLowerCase(); search.value = wanted; show(); }
    else if (g.dataset.symbol) choose(g.dataset.symbol); });
}
function showMemory() {
  const bar = make("div", undefined, "bar"); bar.append(make("small", "steps to the right, bytes upwards; a value has the colour of its Symbol; click: follow")); view.append(bar);
  if (data.memory) canvas(data.memory, bar, target => { if (target.dataset.value) choose("%" + target.dataset.value); });
}
/** 924844032 as 925 M. */
function human(n) {
  for (const [unit, one] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (n >= one) return (n / one).toPrecision(3) + " " + unit;
  return String(n);
}
const clock = s => s >= 1e-3 ? (s * 1e3).toPrecision(3) + " ms" : (s * 1e6).toPrecision(3) + " µs";
for (const k of data.kernels) k.work = k.flops * k.calls;
const allWork = data.kernels.reduce((t, k) => t + k.work, 0) || 1, timed = data.kernels.some(k => k.seconds !== undefined);
let order = timed ? "seconds" : "work";
const allTime = data.kernels.reduce((t, k) => t + (k.seconds || 0), 0) || 1;
/** Columns: key, title, text of a kernel's cell, and what it means. */
const COLUMNS = [
  ["kernel", "kernel", k => k.kernel, "one native function; equal ones are one"],
  ["symbols", "Symbols", k => k.symbols.slice(0, 2).join(", ") + (k.symbols.length > 2 ? ` +${k.symbols.length - 2}` : ""), "what it was made for"],
  ...(timed ? [["seconds", "time", k => k.seconds === undefined ? "" : clock(k.seconds), "of all its calls in one run, measured"],
    ["time", "of all", k => k.seconds === undefined ? "" : (100 * k.seconds / allTime).toFixed(1) + "%", "of the time of all kernels"],
    ["share", "of limit", k => k.share === undefined ? "" : (100 * k.share).toFixed(0) + "%", "of the machine's arithmetic or memory, whichever limits it; what stays in the caches may be over 100 %"]] : []),
  ["work", "work", k => human(k.work), "floating-point operations of all calls"],
  ["part", "of all", k => (100 * k.work / allWork).toFixed(1) + "%", "of the work of all kernels"],
  ["calls", "calls", k => String(k.calls), "in one run"],
  ["flops", "flops", k => human(k.flops), "of one call"],
  ["read", "bytes read", k => human(k.read), "of one call"],
  ["written", "written", k => human(k.written), "of one call"],
  ["flops_per_byte", "flops/byte", k => k.flops_per_byte.toFixed(2), ""],
  ["source", "line", k => k.source.split("/").pop(), "of the first Symbol"],
];
const LEFT = ["kernel", "symbols", "source"], SAME = { part: "work", time: "seconds" };
function showKernels() {
  const table = make("table"), head = make("tr"), body = make("tbody");
  for (const [key, title, , means] of COLUMNS) {
    const th = make("th", title + (order === key ? " ▾" : ""), LEFT.includes(key) ? "t" : ""); th.title = means;
    th.onclick = () => { order = SAME[key] || key; show(); }; head.append(th); }
  const rows = [...data.kernels].sort((a, b) => typeof a[order] === "number" || typeof b[order] === "number" ? (b[order] || 0) - (a[order] || 0) : String(a[order]).localeCompare(String(b[order]), "en", { numeric: true }));
  for (const k of rows) { const tr = make("tr");
    for (const [key, , text] of COLUMNS) { const td = make("td", text(k), LEFT.includes(key) ? "t" : "");
      if (LEFT.includes(key)) td.title = [k[key]].flat().join(", "); else if (typeof k[key] === "number") td.title = k[key].toLocaleString("en"); tr.append(td); }
    tr.onclick = () => showCode(k); body.append(tr); }
  const thead = make("thead"); thead.append(head); table.append(thead, body); view.append(table);
  hits = text => [...body.children].filter(tr => (tr.textContent + tr.children[1].title).toLowerCase().includes(text));
  go = tr => { tr.scrollIntoView({ block: "center" }); for (const r of body.children) r.classList.toggle("hit", r === tr); };
}
/** The loops, the LLVM text or the assembly of a kernel. */
function showCode(k, part = "") {
  view.replaceChildren(); view.classList.remove("filled"); view.scrollTop = 0;
  const bar = make("div", undefined, "bar"), back = make("button", "← kernels", "small"); view.append(bar);
  back.onclick = () => { tab = "Kernels"; show(); };
  bar.append(back, make("b", k.kernel));
  const parts = codeOf(k);
  part = part in parts ? part : k.asm ? "assembly" : "LLVM";
  for (const name of Object.keys(parts)) { const b = make("button", name, name === part ? "small on" : "small"); b.onclick = () => showCode(k, name); bar.append(b); }
  for (const name of k.symbols.slice(0, 6)) { const b = make("button", name, "link"); b.onclick = () => choose(name); bar.append(b); }
  if (k.symbols.length > 6) bar.append(make("small", `and ${k.symbols.length - 6} more`));
  list([...k.notes.map(t => ({ text: "// " + t, cls: "gap", note: true })), ...parts[part].split("\n").map(t => ({ text: t }))],
    (e, line) => part === "loops" || line.note ? paintLine(e, line) : e.append(line.text));
}
const codeOf = k => ({ loops: kernelText(k.kernel), LLVM: k.llvm, assembly: k.asm || "not in this report: symc dump ... --level=asm --select=" + k.kernel });
function kernelLines(text, name) {
  const from = text.lines.findIndex(l => l.startsWith("kernel @" + name + "("));
  return from < 0 ? [] : text.lines.slice(from, text.lines.indexOf("}", from) + 1);
}
const kernelText = name => kernelLines(read(stages.length - 1), name).join("\n");
let action = 0;
function showActions() {
  const acts = stages[stage].actions, bar = make("div", undefined, "bar"); view.append(bar);
  if (!acts.length) { bar.textContent = `${stages[stage].name}: no numbered rewrites; choose another pass`; return; }
  action = Math.min(action, acts.length - 1);
  const slide = make("input"); slide.type = "range"; slide.min = 0; slide.max = acts.length - 1; slide.value = action; slide.setAttribute("aria-label", "rewrite");
  const step = d => { action = Math.min(acts.length - 1, Math.max(0, action + d)); show(); };
  const back = make("button", "←", "small"), on = make("button", "→", "small"); back.onclick = () => step(-1); on.onclick = () => step(1);
  slide.oninput = () => { action = +slide.value; show(); };
  const by = `${stages[stage].name.split("{")[0]}#${action}`;
  const [rule, was, is, symbol] = acts[action];
  bar.append(back, slide, on, make("span", `${action + 1} of ${acts.length}`), make("b", `${by} ${rule}`));
  if (symbol) { const b = make("button", symbol, "link"); b.onclick = () => choose(symbol); bar.append(b); }
  const after = read(stage), before = read(stage - 1);
  const rows = [...(was ? [{ text: "- " + was, at: stage - 1, cls: "del" }] : []), ...(is ? [{ text: "+ " + is, at: stage, cls: "add" }] : [])];
  const kernel = rule.split(" ").find(word => kernelLines(before, word).length && kernelLines(after, word).length);
  if (kernel) {
    const old = kernelLines(before, kernel), now = kernelLines(after, kernel);
    rows.push({ text: "its loops:", cls: "gap" }, ...diff(old, now).map(([m, i]) => m === "-" ? { text: "- " + old[i], cls: "del" } : { text: m + " " + now[i], cls: m === "+" ? "add" : "" }));
  } else {
    const made = after.lines.flatMap((_, i) => after.table.get(after.loc[i])?.by === by ? [i] : []);
    rows.push({ text: made.length ? "what is left of it after the pass:" : "nothing that it made is left after the pass", cls: "gap" }, ...made.map(i => lineOf(after, i, stage, "")));
  }
  list(rows, paintLine);
}

// ---- the life of a value
function choose(name, line, at = stage) {
  const bare = name.replace(/^[%@]/, "").replace(/^"|"$/g, ""); chosen = bare;
  const life = $("life"); life.replaceChildren(make("h3", name));
  let symbols = line !== undefined ? definition(name, at) : new Map();
  if (!symbols.size) for (let s = 0; s < stages.length && !symbols.size; s++) symbols = definition("%" + bare, s);
  if (!symbols.size) for (let s = 0; s < stages.length && !symbols.size; s++)
    for (const o of read(s).table.values()) if (!o.by && o.symbols.has(bare)) symbols = o.symbols;
  for (const s of [...symbols.values()].slice(0, 4)) {
    life.append(make("h4", `Symbol ${s.name} (${s.op})${s.line ? ` ${s.file}:${s.line}` : ""}`));
    const source = data.sources[s.file];
    if (source) source.split("\n").slice(Math.max(0, s.line - 2), s.line + 1).forEach((t, i) =>
      life.append(make("pre", `${Math.max(0, s.line - 2) + i + 1}  ${t}`, Math.max(0, s.line - 2) + i + 1 === s.line ? "here" : "")));
  }
  const [first] = symbols.keys(), seen = new Set();
  stages.forEach((s, n) => {
    if (s.text === null) return;
    const text = read(n), all = text.lines.flatMap((l, i) => l.trimStart().startsWith("%" + bare + ":") || l.trimStart().startsWith("%" + bare + " ") ||
      first !== undefined && symbolsAt(text, i).has(first) ? [i] : []);
    const rank = i => text.lines[i].includes("%" + bare) ? 0 : 1;
    const rows = [...all].sort((i, j) => rank(i) - rank(j) || i - j).slice(0, 4);
    const key = rows.map(i => text.lines[i]).join("\n");
    if (!rows.length || seen.has(key)) return; seen.add(key);
    life.append(make("h4", `${s.name.split("{")[0]} (${s.level}), ${all.length} line${all.length === 1 ? "" : "s"}`));
    for (const i of rows) { const pre = make("pre", text.lines[i].trim().slice(0, 200), "go"); pre.onclick = () => { stage = n; tab = "IR"; waiting = i; show(); view.scrollIntoView({ block: "nearest" }); }; life.append(pre); }
  });
  // those that were made for it, and those that read it
  const called = new Set(read(stages.length - 1).lines.filter(l => l.includes(" = call ") && mentions(l)).map(l => / = call .*?@"?([^"(]+)/.exec(l)?.[1]));
  const own = data.kernels.filter(k => k.kernel === bare || k.symbols.includes(first));
  const kernels = [...own, ...data.kernels.filter(k => called.has(k.kernel) && !own.includes(k))];
  if (kernels.length) life.append(make("h4", "machine code"));
  for (const k of kernels.slice(0, 8)) { const row = make("p", undefined, "kernel"); row.append(make("code", "@" + k.kernel), make("small", `${human(k.flops)} flops`));
    for (const part of Object.keys(codeOf(k))) { const b = make("button", part, "link"); b.onclick = () => { tab = "Kernels"; show(); showCode(k, part); view.scrollIntoView({ block: "nearest" }); }; row.append(b); }
    life.append(row); }
  if (kernels.length > 8) life.append(make("small", `and ${kernels.length - 8} more`));
  redraw(true);
}
function definition(name, at) {
  const text = read(at);
  const i = text.lines.findIndex(l => { const t = l.trimStart(); return t.startsWith(name + ":") || t.startsWith(name + " ") || t.startsWith("(" + name + ":") || t.startsWith("kernel " + name + "("); });
  return i < 0 ? new Map() : symbolsAt(text, i);
}

// ---- search, keys, frame
function find(next) {
  const found = hits(wanted || "\n\n");
  hitAt = next ? (hitAt + 1) % Math.max(found.length, 1) : 0;
  $("count").textContent = wanted ? `${found.length ? hitAt + 1 : 0} of ${found.length}` : "";
  if (found.length) go(found[hitAt]); else redraw(true);
}
search.addEventListener("input", () => { wanted = search.value.toLowerCase(); find(false); });
search.addEventListener("keydown", e => { if (e.key === "Enter") find(true); });
addEventListener("keydown", e => { if (e.key === "/" && document.activeElement !== search) { e.preventDefault(); search.focus(); } });
view.addEventListener("scroll", () => redraw());
addEventListener("resize", () => redraw());
for (const name of Object.keys(TABS)) { const b = make("button", name); b.onclick = () => { tab = name; show(); }; $("tabs").append(b); }
$("facts").textContent = data.facts.join(" · ");
const total = stages.reduce((t, s) => t + s.seconds, 0);
stages.forEach((s, i) => { const e = make("div", undefined, "pass" + (s.changed ? "" : " same")); e.append(make("span", s.name.split("{")[0]));
  e.append(make("span", i ? (s.seconds * 1000).toFixed(1) + " ms" : "")); e.title = s.name;
  e.append(make("small", `${s.level}${s.changed ? "" : ", unchanged"}${s.actions.length ? `, ${s.actions.length} rewrites` : ""}`));
  e.onclick = () => { stage = i; if (!["IR", "Diff", "Rewrites"].includes(tab)) tab = "Diff"; show(); }; $("passes").append(e); });
$("passes").append(make("small", `${(total * 1000).toFixed(0)} ms in passes`));
$("life").append(make("h3", "Life of a value"), make("p", "Click a value, a Symbol in the graph, or a kernel to follow it from your line to assembly."));
const hash = new URLSearchParams(location.hash.slice(1));
if (hash.get("tab") in TABS) tab = hash.get("tab");
if (hash.has("stage")) stage = Math.min(stages.length - 1, Math.max(0, +hash.get("stage")));
show();
if (hash.has("find")) { search.value = hash.get("find"); wanted = search.value.toLowerCase(); find(false); }
if (hash.has("value")) choose(hash.get("value"));
document.documentElement.dataset.ready = Math.round(performance.now());
})();
