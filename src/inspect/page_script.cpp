#include "inspect/page_parts.h"

namespace headway::inline v1::inspect {

const char* const kPageScript = R"js(
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const KINDS = {
  cross: {label: "Cross-attention", queries: "written", keys: "sourceTokens",
          rows: "the token being written", columns: "tokens of the source",
          note: "Each row is one step of the decoder: while it writes the token on the left, it looks at the source " +
                "tokens above."},
  encoder: {label: "Encoder self-attention", queries: "sourceTokens", keys: "sourceTokens",
            rows: "source token", columns: "source tokens it looks at",
            note: "Each row is a source token; it looks at the source tokens above, in both directions."},
  decoder: {label: "Decoder self-attention", queries: "written", keys: "targetTokens",
            rows: "the token being written", columns: "tokens already written",
            note: "Each row is one step of the decoder: while it writes the token on the left, it looks at what is " +
                  "already written. Later tokens are hidden from it: the upper right is empty."}};

// Bytes are 255·sqrt(weight).
const decoded = new Map();
function weights(text) {
  if (!decoded.has(text)) decoded.set(text, Float32Array.from(atob(text), c => (c.charCodeAt(0) / 255) ** 2));
  return decoded.get(text);
}
const shown = token => token.startsWith("\u2581") ? (token.slice(1) || "\u2423") : token;
// SentencePiece marks the pieces that begin a word; the others are shown as continuing one.
const label = token => /^(\u2581|<.*>$|[^\p{L}\p{N}])/u.test(token) ? shown(token) : "\u00b7" + token;
const number = w => w >= 0.995 ? "1.00" : w >= 0.01 ? w.toFixed(2) : w > 0 ? w.toFixed(4) : "0";

// White to deep blue. The square root gives a weight of 0.1 a colour one can see.
const STOPS = [[255, 255, 255], [222, 235, 247], [158, 202, 225], [66, 146, 198], [8, 81, 156], [8, 48, 107]];
function colour(weight) {
  const place = Math.sqrt(Math.min(Math.max(weight, 0), 1)) * (STOPS.length - 1);
  const i = Math.min(Math.floor(place), STOPS.length - 2), f = place - i;
  return STOPS[i].map((c, k) => Math.round(c + (STOPS[i + 1][k] - c) * f));
}
const css = weight => "rgb(" + colour(weight).join(",") + ")";
const inkOn = weight => weight > 0.3 ? "#fff" : "#17202c";

const state = {s: 0, k: "cross", l: data.layer, h: data.head};
let row = -1, column = -1, pinned = false;
for (const part of location.hash.slice(1).split("&")) {
  const [name, value] = part.split("=");
  if (name in state) state[name] = name === "k" ? value : Number(value);
  if (name === "r") { row = Number(value); pinned = true; }
}

const example = () => data.examples[state.s];
const current = () => weights(example()[state.k][state.l][state.h]);
function clamp() {
  const clip = (value, count) => Math.max(0, Math.min(Number.isInteger(value) ? value : 0, count - 1));
  state.s = clip(state.s, data.examples.length);
  if (!KINDS[state.k] || !example()[state.k].length) {
    state.k = Object.keys(KINDS).find(k => example()[k].length) || "cross";
  }
  state.l = clip(state.l, example()[state.k].length);
  state.h = clip(state.h, example()[state.k][state.l].length);
}

function image(canvas, w, rows, columns) {
  canvas.width = columns; canvas.height = rows;
  const context = canvas.getContext("2d"), pixels = context.createImageData(columns, rows);
  for (let i = 0; i < w.length; ++i) pixels.data.set([...colour(w[i]), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

// How sharply a head looks: the largest weight of a row, on average.
function peak(w, columns) {
  let total = 0, rows = w.length / columns;
  for (let i = 0; i < rows; ++i) {
    total += w.subarray(i * columns, (i + 1) * columns).reduce((a, b) => Math.max(a, b), 0);
  }
  return rows ? total / rows : 0;
}

function drawOverview() {
  const table = document.querySelector("#overview table"), layers = example()[state.k];
  const rows = example()[KINDS[state.k].queries].length, columns = example()[KINDS[state.k].keys].length;
  table.textContent = "";
  const head = table.createTHead().insertRow(), body = table.createTBody();
  head.append(document.createElement("th"));
  for (let h = 0; h < Math.max(...layers.map(l => l.length)); ++h) {
    const cell = document.createElement("th"); cell.textContent = "head " + (h + 1); head.append(cell);
  }
  layers.forEach((heads, l) => {
    const line = body.insertRow(), name = document.createElement("th");
    name.textContent = "layer " + (l + 1); line.append(name);
    heads.forEach((text, h) => {
      const button = document.createElement("button"), canvas = document.createElement("canvas"), w = weights(text);
      image(canvas, w, rows, columns);
      const unit = 84 / Math.max(rows, columns, 1);
      canvas.style.width = columns * unit + "px"; canvas.style.height = rows * unit + "px";
      const small = document.createElement("small"), sharp = peak(w, columns);
      small.textContent = "peak " + sharp.toFixed(2);
      button.title = "Largest weight of a row, on average: " + sharp.toFixed(2);
      button.setAttribute("aria-label", `layer ${l + 1}, head ${h + 1}`);
      button.setAttribute("aria-pressed", l === state.l && h === state.h);
      button.append(canvas, small);
      button.onclick = () => { state.l = l; state.h = h; draw(); };
      line.insertCell().append(button);
    });
  });
}

let grid = null;
function drawMap() {
  const w = current(), kind = KINDS[state.k], queries = example()[kind.queries], keys = example()[kind.keys];
  const canvas = at("map"), context = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
  const font = "13px system-ui, 'DejaVu Sans', sans-serif";
  const space = Math.max(420, at("large").clientWidth - 190);
  const size = Math.max(3, Math.min(40, Math.floor(space / keys.length)));
  const labelled = size >= 12;
  context.font = font;
  const widest = tokens => Math.min(170, Math.max(...tokens.map(t => context.measureText(label(t)).width)) + 12);
  const left = labelled ? widest(queries) : 8, top = labelled ? widest(keys) : 8;
  const width = left + size * keys.length + (labelled ? top * 0.7 : 8), height = top + size * queries.length + 8;
  canvas.width = width * ratio; canvas.height = height * ratio;
  canvas.style.width = width + "px"; canvas.style.height = height + "px";
  context.scale(ratio, ratio);
  context.font = font;
  for (let i = 0; i < queries.length; ++i) {
    for (let j = 0; j < keys.length; ++j) {
      context.fillStyle = css(w[i * keys.length + j]);
      context.fillRect(left + j * size, top + i * size, size, size);
    }
  }
  if (size >= 8) {
    context.strokeStyle = "#e6eaef"; context.lineWidth = 1; context.beginPath();
    for (let j = 0; j <= keys.length; ++j) {
      context.moveTo(left + j * size + .5, top + .5);
      context.lineTo(left + j * size + .5, top + size * queries.length + .5);
    }
    for (let i = 0; i <= queries.length; ++i) {
      context.moveTo(left + .5, top + i * size + .5);
      context.lineTo(left + size * keys.length + .5, top + i * size + .5);
    }
    context.stroke();
  } else {
    context.strokeStyle = "#d9dfe6"; context.strokeRect(left, top, size * keys.length, size * queries.length);
  }
  if (labelled) {
    context.textBaseline = "middle"; context.textAlign = "right";
    queries.forEach((t, i) => {
      context.fillStyle = i === row ? "#c2410c" : "#17202c";
      context.fillText(label(t), left - 7, top + (i + .5) * size, left - 9);
    });
    context.textAlign = "left";
    keys.forEach((t, j) => {
      context.save();
      context.translate(left + (j + .5) * size, top - 6); context.rotate(-Math.PI / 3.2);
      context.fillStyle = j === column ? "#c2410c" : "#17202c";
      context.fillText(label(t), 0, 0, 160);
      context.restore();
    });
  }
  context.lineWidth = 2; context.strokeStyle = "#c2410c";
  if (row >= 0) context.strokeRect(left - 1, top + row * size - .5, size * keys.length + 2, size + 1);
  if (row >= 0 && column >= 0) context.strokeRect(left + column * size, top + row * size, size, size);
  if (row >= 0 && size >= 26) {
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif"; context.textAlign = "center";
    for (let j = 0; j < keys.length; ++j) {
      const weight = w[row * keys.length + j];
      if (weight < 0.005) continue;
      context.fillStyle = inkOn(weight);
      context.fillText(weight.toFixed(2), left + (j + .5) * size, top + (row + .5) * size, size - 2);
    }
  }
  grid = {left, top, size, rows: queries.length, columns: keys.length};
  canvas.setAttribute("aria-label",
                      `${kind.label}, layer ${state.l + 1}, head ${state.h + 1}: ${kind.rows} by ${kind.columns}`);
}

function drawTokens() {
  const w = current(), kind = KINDS[state.k], queries = example()[kind.queries], keys = example()[kind.keys];
  const fill = (box, tokens, paint) => {
    while (box.children.length > tokens.length) box.lastChild.remove();
    while (box.children.length < tokens.length) box.append(document.createElement("span"));
    tokens.forEach((t, i) => { box.children[i].textContent = label(t); paint(box.children[i], i); });
  };
  fill(at("queries"), queries, (span, i) => {
    span.className = i === row ? "on" : "";
    span.onmouseenter = () => { if (!pinned) { row = i; column = -1; refresh(); } };
    span.onclick = () => { pinned = !(pinned && row === i); row = i; column = -1; refresh(); };
  });
  fill(at("keys"), keys, (span, j) => {
    const weight = row >= 0 ? w[row * keys.length + j] : 0;
    span.className = row >= 0 && j === column ? "on" : "";
    span.style.background = css(weight); span.style.color = inkOn(weight);
    span.onmouseenter = () => { column = j; refresh(); };
    span.onmouseleave = () => { column = -1; refresh(); };
  });
}

function drawValue() {
  const w = current(), kind = KINDS[state.k], queries = example()[kind.queries], keys = example()[kind.keys];
  const box = at("value"), hint = document.createElement("span");
  if (row < 0) {
    hint.textContent = "Point at a token or a cell; click to hold it. Arrow keys change layer and head.";
    box.replaceChildren(hint);
    return;
  }
  if (column >= 0) {
    box.textContent = `${label(queries[row])} \u2192 ${label(keys[column])}  ${number(w[row * keys.length + column])}`;
    return;
  }
  const order = keys.map((_, j) => j).sort((a, b) => w[row * keys.length + b] - w[row * keys.length + a]).slice(0, 4);
  hint.textContent = order.map(j => `${label(keys[j])} ${number(w[row * keys.length + j])}`).join(",  ");
  box.replaceChildren(`${label(queries[row])} \u2192 `, hint);
}

function refresh() { drawMap(); drawTokens(); drawValue(); }

function draw() {
  const focused = at("overview").contains(document.activeElement);
  clamp();
  const kind = KINDS[state.k];
  row = Math.min(row, example()[kind.queries].length - 1);
  column = -1;
  at("source").textContent = example().source;
  at("translation").textContent = example().translation;
  at("name").textContent = `${kind.label}, layer ${state.l + 1}, head ${state.h + 1}`;
  at("note").textContent = kind.note;
  at("queries-name").textContent = "row: " + kind.rows;
  at("keys-name").textContent = "columns: " + kind.columns;
  for (const button of at("kinds").children) button.setAttribute("aria-pressed", button.value === state.k);
  drawOverview();
  if (focused) document.querySelector('#overview [aria-pressed="true"]').focus();
  refresh();
  history.replaceState(null, "", "#" + Object.entries(state).map(p => p.join("=")).join("&"));
}

at("pairs").hidden = data.examples.length < 2;
data.examples.forEach((pair, i) => at("sentence").append(new Option(pair.source, i)));
at("sentence").onchange = event => { state.s = Number(event.target.value); row = -1; pinned = false; draw(); };
for (const [name, kind] of Object.entries(KINDS)) {
  if (!data.examples.some(e => e[name].length)) continue;
  const button = document.createElement("button");
  button.value = name; button.textContent = kind.label;
  button.onclick = () => { state.k = name; row = -1; pinned = false; draw(); };
  at("kinds").append(button);
}
function cellOf(event) {
  const box = at("map").getBoundingClientRect();
  const i = Math.floor((event.clientY - box.top - grid.top) / grid.size);
  const j = Math.floor((event.clientX - box.left - grid.left) / grid.size);
  return {i: i >= 0 && i < grid.rows ? i : -1, j: j >= 0 && j < grid.columns ? j : -1};
}
at("map").onmousemove = event => {
  const {i, j} = cellOf(event);
  if (!pinned && i >= 0) row = i;
  column = row >= 0 && (i === row || pinned) ? j : -1;
  refresh();
};
at("map").onmouseleave = () => { column = -1; if (!pinned) row = -1; refresh(); };
at("map").onclick = event => {
  const {i} = cellOf(event);
  pinned = i >= 0 && !(pinned && i === row);
  if (i >= 0) row = i;
  refresh();
};
document.onkeydown = event => {
  if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = {ArrowUp: ["l", -1], ArrowDown: ["l", 1], ArrowLeft: ["h", -1], ArrowRight: ["h", 1]}[event.key];
  if (!step) return;
  event.preventDefault();
  state[step[0]] += step[1];
  draw();
};
window.onresize = refresh;
const bar = new Float32Array(140).map((_, i) => i / 139);
image(at("bar"), bar, 1, 140);
at("sentence").value = state.s;
draw();
)js";

}  // namespace headway::inline v1::inspect
