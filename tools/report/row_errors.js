// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The share of rows whose error is at most so much: the mean hides tails.
const SPAN = 1e4;  // from the largest error to the left edge

// Comparisons kept from earlier versions have none.
const hasRowErrors = (n) => (n.row_rel_l2 || []).some(isNumber);

const withRows = () => approximations().filter((p) => hasRowErrors(p.n));

function rowErrorSets(shown, least) {
  return shown.map(({row, n}) => ({
    label: row.name, variant: row.variant, showLine: true, borderWidth: 1.75, borderColor: style[row.variant].colour,
    backgroundColor: style[row.variant].colour, pointStyle: style[row.variant].mark,
    radius: data.row_quantiles.map((level) => (level === 0.5 ? 5 : 0)), hitRadius: 4,
    labelOf: (p) => (p.y === 0.5 ? labelOfRow(p.row) : ''),
    data: n.row_rel_l2.map((error, i) => ({x: Math.max(error, least), y: data.row_quantiles[i], error, row}))
      .filter((p) => isNumber(p.error))}));
}

const rowErrorText = (p) => [
  p.y === 1 ? 'no row has a larger error than' : `${Number((100 * p.y).toFixed(1))} % of rows have an error of at most`,
  short(p.error)];

function drawRowErrors() {
  const shown = withRows();
  document.getElementById('row-errors').hidden = !rows.some((row) => hasRowErrors(row) && row.rel_l2 > withoutRounding(0));
  const all = shown.flatMap((p) => p.n.row_rel_l2).filter((error) => isNumber(error) && error > 0);
  const most = all.length ? Math.max(...all) : 1;
  const least = all.length ? Math.max(Math.min(...all), most / SPAN) : 1e-4;
  drawOn('row-error-chart', 'scatter', {datasets: rowErrorSets(shown, least)}, {
    x: {...logAxis('relative L2 error of a row (log scale)', errorLabel), min: least, max: most * 1.1},
    y: {type: 'linear', min: 0, max: 1, title: {display: true, text: 'share of rows', color: ink('--ink'), font: {size: 13}},
      grid: {color: ink('--line'), borderColor: ink('--faint')}, ticks: {color: ink('--faint')}},
  }, {tooltip: rowTooltip(rowErrorText)});
}

const rowErrorCsv = () => csv([['name', 'share', 'row_rel_l2'], ...withRows().flatMap((p) =>
  p.n.row_rel_l2.map((error, i) => [p.row.name, data.row_quantiles[i], error ?? '']))]);
