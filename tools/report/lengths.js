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

function lengthSets() {
  const sets = rows.map((row, i) => ({row, sweep: data.sweep.rows[i], i}))
    .filter(({i}) => !hidden.has(i))
    .map(({row, sweep}) => ({
      label: row.name, variant: row.variant, showLine: true, borderWidth: 2, borderColor: style[row.variant].colour,
      backgroundColor: style[row.variant].colour, pointStyle: style[row.variant].mark, radius: 4,
      data: data.sweep.tokens.map((n, at) => ({x: n, y: sweep.time[at] * 1e3, sweep, row}))
        .filter((p) => isNumber(p.y) && p.y > 0)}));
  return [...sets, guide(1, 'linear'), guide(2, 'quadratic')];
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
