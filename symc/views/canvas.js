"use strict";
/** The picture in `box`, to zoom and to move. */
function canvasOf(box, onClick = () => {}) {
  const svg = box.querySelector("svg"), wide = svg.width.baseVal.value, high = svg.height.baseVal.value;
  // what is around it moves, not the picture: a browser lays out every box and text of one that is transformed itself
  const sheet = document.createElement("div"); sheet.className = "sheet"; svg.before(sheet); sheet.append(svg);
  let x = 0, y = 0, k = 1, drag = null;
  const move = () => { sheet.style.transform = `translate(${x}px,${y}px) scale(${k})`; };
  const start = scale => { k = scale; y = 0;
    const first = svg.querySelector("g[data-key] rect"), middle = first ? +first.getAttribute("x") + first.getAttribute("width") / 2 : wide / 2;
    x = wide * k <= box.clientWidth ? (box.clientWidth - wide * k) / 2 : Math.min(0, box.clientWidth / 2 - middle * k); move(); };
  const zoom = (f, px = box.clientWidth / 2, py = box.clientHeight / 2) => { x = px - (px - x) * f; y = py - (py - y) * f; k *= f; move(); };
  const fit = () => start(Math.min(1, box.clientWidth / wide, box.clientHeight / high));
  const show = element => { const b = element.getBBox(); k = Math.max(k, 0.7);
    x = box.clientWidth / 2 - (b.x + b.width / 2) * k; y = box.clientHeight / 3 - b.y * k; move(); };
  box.addEventListener("wheel", e => { e.preventDefault(); const r = box.getBoundingClientRect();
    zoom(Math.exp(-e.deltaY / 500), e.clientX - r.left, e.clientY - r.top); }, { passive: false });
  box.addEventListener("pointerdown", e => { drag = [e.clientX - x, e.clientY - y, e.clientX, e.clientY]; });
  box.addEventListener("pointermove", e => { if (drag && e.buttons) { x = e.clientX - drag[0]; y = e.clientY - drag[1]; move(); } });
  box.addEventListener("pointerup", e => { if (drag && Math.hypot(e.clientX - drag[2], e.clientY - drag[3]) < 4) onClick(e.target); drag = null; });
  start(Math.min(1, Math.max(box.clientWidth / wide, 0.45)));
  return { svg, zoom, fit, start, show };
}
