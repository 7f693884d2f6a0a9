// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Mass kept against density: how well a variant chooses, apart from how much.
const LEAST_LOST = 1e-5;  // less is drawn as this

// Variants that choose with or without the answer, between which others stand.
const isBound = (name) => /^(oracle|random)_/.test(name);

const massPoints = () => approximations()
  .filter((p) => isNumber(p.n.mass_mean) && isNumber(p.n.density) && p.n.density > 0)
  .map((p) => ({...p, x: p.n.density, y: Math.max(1 - p.n.mass_mean, LEAST_LOST)}));

function massSets(shown) {
  return families.map((name) => ({
    label: name,
    data: shown.filter((p) => p.row.variant === name).sort((a, b) => a.x - b.x),
    backgroundColor: style[name].colour, pointStyle: style[name].mark,
    pointBorderColor: ink('--paper'), radius: 6, hoverRadius: 9, clip: false,
    showLine: true, borderColor: isBound(name) ? ink('--ink') : style[name].colour,
    borderDash: name.startsWith('random_') ? [5, 4] : [], borderWidth: 1.5,
    labelOf: (p) => labelOfRow(p.row),
  })).filter((set) => set.data.length);
}

// 0.5, 0.8, 0.9, 0.95, ...: the axis is that of what is lost.
function keptLabel(lost) {
  const leading = lost / 10 ** Math.floor(Math.log10(lost) + 1e-9);
  const round = [1, 2, 5].some((digit) => Math.abs(leading - digit) < 1e-6);
  return round ? String(Number((1 - lost).toFixed(9))) : null;
}

function massText(p) {
  return [knobText(p.row), `density ${show(fixed(3), p.n.density)}`,
    `mass ${show(fixed(4), p.n.mass_mean)}, p05 ${show(fixed(4), p.n.mass_p05)}`];
}

function drawMass() {
  const shown = massPoints();
  document.getElementById('masses').hidden = !rows.some((row) => isNumber(row.mass_mean) && row.density < 1);
  const y = shown.length ? limits(shown.map((p) => p.y), 1.4) : [0.01, 1];
  drawOn('mass-chart', 'scatter', {datasets: massSets(shown)}, {
    x: {...logAxis('density: pairs kept of those allowed (log scale)', amountLabel),
      ...(shown.length ? {min: limits(shown.map((p) => p.x), 1.15)[0], max: 1} : {min: 0.01, max: 1})},
    y: {...logAxis('mass kept (log scale of what is lost)', keptLabel), reverse: true,
      min: y[0], max: Math.min(1, y[1])},
  }, {tooltip: {...rowTooltip(massText)}}, {layout: {padding: 8}});
}

const massCsv = () => csv([['name', 'density', 'mass_mean', 'mass_p05'], ...massPoints().map((p) =>
  [p.row.name, p.n.density, p.n.mass_mean, p.n.mass_p05])]);
