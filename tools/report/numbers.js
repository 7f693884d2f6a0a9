// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The report's data: rows, their numbers on the chosen layer, the frontier.
const data = JSON.parse(document.getElementById('data').textContent);
const rows = data.rows;
const layers = data.input.layers;

const families = [...new Set(rows.map((row) => row.variant))];
const style = Object.fromEntries(families.map((name) =>
  [name, styleOf(name, rows.find((row) => row.variant === name).semantics)]));

let layer = -1;  // -1: all layers together
const hidden = new Set();  // indices of rows

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

// The mark that a variant's points have, as a sign.
function swatch(name) {
  const sign = element('span', style[name].glyph, 'swatch');
  sign.style.color = style[name].colour;
  sign.setAttribute('aria-hidden', 'true');
  return sign;
}

// A row in few words: its variant, and the values of the knobs in which the rows
// of that variant differ.
function labelOfRow(row) {
  const others = rows.filter((other) => other.variant === row.variant);
  const values = Object.entries(row.knobs).filter(([k, v]) => others.some((other) => other.knobs[k] !== v));
  return [row.variant, ...values.map(([, v]) => v)].join(' ');
}
