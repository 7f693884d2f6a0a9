// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Time against length, where the comparison is a sweep of lengths.
// A straight line of this power through the first time of exact.
function guide(power, label) {
  const exact = data.sweep.rows[rows.findIndex((row) => row.baseline)].time;
  const [first] = data.sweep.tokens;
  return {label, guide: true, showLine: true, pointRadius: 0, pointHitRadius: 0, borderWidth: 1,
    borderDash: [2, 4], borderColor: ink('--faint'), order: 3,
    data: data.sweep.tokens.map((n) => ({x: n, y: exact[0] * 1e3 * (n / first) ** power}))};
}

// Rings where rows cross exact for good, each called by its length. The time there
// is read off a straight line between logarithms, as the length was.
function payingSet() {
  const {tokens} = data.sweep;
  const crossing = rows.map((row, i) => ({row, sweep: data.sweep.rows[i], i}))
    .filter(({sweep, i}) => !hidden.has(i) && isNumber(sweep.efficiency_length) && sweep.efficiency_length > 0);
  return {label: 'pays from', guide: true, showLine: false, pointStyle: 'circle', radius: 9, hoverRadius: 9,
    pointHitRadius: 0, backgroundColor: 'transparent', borderColor: ink('--ink'), borderWidth: 1.5, order: 0,
    labelOf: (p) => String(Math.round(p.x)),
    data: crossing.map(({row, sweep}) => {
      const x = sweep.efficiency_length, after = tokens.findIndex((n) => n >= x);
      const share = Math.log(x / tokens[after - 1]) / Math.log(tokens[after] / tokens[after - 1]);
      return {x, y: 1e3 * sweep.time[after - 1] ** (1 - share) * sweep.time[after] ** share, sweep, row};
    })};
}

function lengthSets() {
  const sets = rows.map((row, i) => ({row, sweep: data.sweep.rows[i], i}))
    .filter(({i}) => !hidden.has(i))
    .map(({row, sweep}) => ({
      label: row.name, variant: row.variant, showLine: true, borderWidth: 2, borderColor: style[row.variant].colour,
      backgroundColor: style[row.variant].colour, pointStyle: style[row.variant].mark, radius: 4,
      labelOf: (p) => (p.x === data.sweep.tokens.at(-1) ? labelOfRow(p.row) : ''),
      data: data.sweep.tokens.map((n, at) => ({x: n, y: sweep.time[at] * 1e3, sweep, row}))
        .filter((p) => isNumber(p.y) && p.y > 0)}));
  return [...sets, payingSet(), guide(1, 'linear'), guide(2, 'quadratic')];
}

function lengthText(p) {
  const at = data.sweep.tokens.indexOf(p.x);
  const lines = [`${p.x} tokens: ${show(milliseconds, p.y / 1e3)} ms \u00b1 ${show(milliseconds, p.sweep.mad[at])} ms`];
  if (isNumber(p.sweep.growth)) lines.push(`grows with the power ${p.sweep.growth.toFixed(2)} of the length`);
  if (isNumber(p.sweep.efficiency_length) && p.sweep.efficiency_length > 0) {
    lines.push(`pays from ${p.sweep.efficiency_length.toFixed(0)} tokens`);
  } else if (p.sweep.efficiency !== 'none') {
    lines.push(`pays ${p.sweep.efficiency}`);
  }
  return lines;
}

function drawLengths() {
  document.getElementById('lengths').hidden = !data.sweep;
  if (!data.sweep) return;
  const {tokens} = data.sweep;
  const scales = {
    x: {...logAxis('tokens (log scale)', String), min: tokens[0] / 1.1, max: tokens[tokens.length - 1] * 1.1,
      afterBuildTicks(axis) { axis.ticks = tokens.map((value) => ({value})); }},
    y: logAxis('time, ms (log scale)', errorLabel)};
  drawOn('length-chart', 'scatter', {datasets: lengthSets()}, scales, {tooltip: rowTooltip(lengthText)});
}
