// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The report's data: rows, their numbers on the chosen layer, the frontier.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const rows = data.rows;
const layers = data.input.layers;

// Okabe and Ito's palette without its yellow, which vanishes on white; exact is
// black. The marks differ too, for print and for eyes that colours fail.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const MARKS = [['circle', '\u25cf'], ['triangle', '\u25b2'], ['rectRot', '\u25c6'], ['rect', '\u25a0']];
const families = [...new Set(rows.map((row) => row.variant))];
const style = {};
for (const name of families) {
  const i = Object.keys(style).filter((other) => other !== 'exact').length;
  style[name] = name === 'exact'
    ? {colour: '#000000', mark: 'rect', glyph: '\u25a0'}
    : {colour: COLOURS[i % COLOURS.length], mark: MARKS[i % MARKS.length][0],
       glyph: MARKS[i % MARKS.length][1]};
}

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

// The rows that no other beats in time and error, by rising time.
function frontier(among, error, time) {
  const able = among.filter((row) => isNumber(time(row)) && isNumber(error(row)));
  return able.filter((row) => !able.some((other) =>
    time(other) <= time(row) && error(other) <= error(row) &&
    (time(other) < time(row) || error(other) < error(row))))
    .sort((a, b) => time(a) - time(b));
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

const COLUMNS = [
  {key: 'time', title: 'time ms', format: milliseconds, define: 'time'},
  {key: 'spread', title: '\u00b1 %', format: fixed(1), define: 'mad',
    value: (n) => (isNumber(n.time) && isNumber(n.mad) ? 100 * n.mad / n.time : null)},
  {key: 'speedup', title: '\u00d7 exact', format: fixed(2), define: 'speedup'},
  {key: 'rel_l2', title: 'rel L2', format: short, define: 'rel_l2'},
  {key: 'max_abs', title: 'max abs', format: short, define: 'max_abs'},
  {key: 'cosine', title: 'cosine', format: fixed(4), define: 'cosine'},
  {key: 'mass_mean', title: 'mass', format: fixed(3), define: 'mass_mean'},
  {key: 'mass_p05', title: 'mass p05', format: fixed(3), define: 'mass_p05'},
  {key: 'density', title: 'density', format: fixed(3), define: 'density'},
  {key: 'flops', title: 'GFLOP', format: fixed(2, 1e-9), define: 'flops'},
  {key: 'bytes', title: 'MB', format: fixed(1, 1e-6), define: 'bytes'},
  {key: 'workspace_bytes', title: 'work KiB', format: (bytes) => Math.ceil(bytes / 1024).toFixed(0), define: 'workspace_bytes'},
];
const valueOf = (column, n) => (column.value ? column.value(n) : n[column.key]);
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
