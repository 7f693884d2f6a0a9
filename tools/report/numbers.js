// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The report's data: rows, their numbers on the chosen layer, the frontier.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const rows = data.rows;
const layers = data.input.layers;

// A variant looks the same in every report: its family gives a range of hues,
// its name the place in it, the lightness and the mark. exact is the ink's.
const MARKS = [['circle', '\u25cf'], ['triangle', '\u25b2'], ['rectRot', '\u25c6'], ['rect', '\u25a0']];
const HUES = {'exact on selection': [175, 340], 'own reference': [0, 75], exact: [95, 155]};
const families = [...new Set(rows.map((row) => row.variant))];

// FNV-1a, 32 bits.
function hash(text) {
  let value = 0x811c9dc5;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}

// Hue in degrees, saturation and lightness in shares, as #rrggbb.
function hexColour(hue, saturation, lightness) {
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    const value = lightness - saturation * Math.min(lightness, 1 - lightness) *
      Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, '0');
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

function styleOf(name, semantics) {
  if (name === 'exact') return {colour: '#7d8791', mark: 'rect', glyph: '\u25a0'};
  const bits = hash(name), [low, high] = HUES[semantics];
  const [mark, glyph] = MARKS[(bits >>> 16) % MARKS.length];
  return {colour: hexColour(low + ((bits >>> 3) % 256) / 256 * (high - low), 0.75,
    0.4 + 0.05 * ((bits >>> 11) % 4)), mark, glyph};
}
const style = Object.fromEntries(families.map((name) =>
  [name, styleOf(name, rows.find((row) => row.variant === name).semantics)]));

let layer = -1;  // -1: all layers together
const hidden = new Set();  // indices of rows

const isNumber = (value) => typeof value === 'number' && isFinite(value);

// A row's numbers on the chosen layer, or over all.
const numbers = (row) => (layer < 0 ? row : row.layers[layer]);

// Errors up to twice that of exact are rounding, and count as the same.
function withoutRounding(error) {
  const baseline = rows.find((row) => row.baseline);
  const exact = numbers(baseline).rel_l2;
  return isNumber(error) && isNumber(exact) ? Math.max(error, 2 * exact) : error;
}

// What the tool calls faster: by more than both spreads.
const faster = (a, b) => a.time + (a.mad || 0) + (b.mad || 0) < b.time;

// Whether a row's numbers beat another's, as the tool says in the definition of
// pareto.
function beats(a, b) {
  const x = withoutRounding(a.rel_l2), y = withoutRounding(b.rel_l2);
  if (x > y || faster(b, a)) return false;
  return x < y || faster(a, b) || (b.noisy && a.time < b.time);
}

// Those of `among` that no other of them beats, by rising time. Each has `n`.
function frontier(among) {
  const able = among.filter((p) => isNumber(p.n.time) && p.n.rel_l2 < 1);
  return able.filter((p) => !able.some((other) => beats(other.n, p.n)))
    .sort((a, b) => a.n.time - b.n.time);
}

const fixed = (digits, factor = 1) => (value) => (value * factor).toFixed(digits);
// 0.28, 1.5e-5: a number below a thousandth is read by its power.
const short = (value) => (value === 0 ? '0'
  : value >= 1e-3 && value < 1e4 ? value.toPrecision(2) : value.toExponential(1));
const milliseconds = (seconds) => {
  const ms = seconds * 1e3;
  return ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toPrecision(3);
};
const show = (format, value) => (isNumber(value) ? format(value) : '\u2013');

const KIB = (digits) => fixed(digits, 1 / 1024);
const FORMATS = {
  time: milliseconds, token_time: milliseconds, spread: (share) => `${fixed(1, 100)(share)} %`, tokens_per_second: fixed(0),
  speedup: fixed(2), rel_l2: short, max_abs: short, cosine: fixed(4), mass_mean: fixed(3),
  mass_p05: fixed(3), density: fixed(3), flops: fixed(2, 1e-9), bytes: fixed(1, 1e-6),
  token_kv_bytes: KIB(1), workspace_bytes: (bytes) => Math.ceil(bytes / 1024).toFixed(0),
};
// Headings are the tool's; what no row has is left out.
const COLUMNS = Object.entries(FORMATS)
  .filter(([key]) => rows.some((row) => isNumber(row[key])))
  .map(([key, format]) => ({key, format, title: data.headings[key]}));
const valueOf = (column, n) => n[column.key];
const knobText = (row) => Object.entries(row.knobs).map(([k, v]) => `${k}=${v}`).join(' ');

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// The mark that a variant's points have, as a sign.
function swatch(name) {
  const sign = element('span', style[name].glyph, 'swatch');
  sign.style.color = style[name].colour;
  sign.setAttribute('aria-hidden', 'true');
  return sign;
}
