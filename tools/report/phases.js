// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the time of a row is spent on, one bar a row.
const PHASES = {
  estimate: ['estimate', '#e69f00'], select: ['select', '#cc79a7'],
  build: ['build lists (gather)', '#009e73'], attend: ['attend', '#56b4e9'],
};

// Those that choose, and exact, by rising time; all where none chooses.
function phaseRows() {
  const shown = shownRows().filter((p) => isNumber(p.n.time) && isNumber(p.n.phases?.attend));
  const choosing = shown.filter((p) => p.row.baseline || p.n.phases.estimate + p.n.phases.select > 0);
  return (choosing.length > 1 ? choosing : shown).sort((a, b) => a.n.time - b.n.time);
}

// The knobs in which rows of one variant differ: a phone has no room for others.
function varyingKnobs(row) {
  const others = rows.filter((other) => other.variant === row.variant);
  return Object.entries(row.knobs).filter(([k, v]) => others.some((other) => other.knobs[k] !== v))
    .map(([k, v]) => `${k}=${v}`).join(' ');
}

function phaseText(item) {
  const {n} = item.dataset.of[item.dataIndex], seconds = n.phases[item.dataset.phase];
  return `${item.dataset.label}: ${show(milliseconds, seconds)} ms, ${fixed(1, 100)(seconds / n.time)} %`;
}

function drawPhases() {
  const shown = phaseRows();
  const narrow = document.documentElement.clientWidth < 640;
  document.getElementById('phases').hidden = !shown.length;
  document.getElementById('phase-box').style.height = `${100 + (narrow ? 34 : 24) * shown.length}px`;
  drawOn('phase-chart', 'bar', {
    labels: shown.map((p) => (narrow ? [p.row.variant, varyingKnobs(p.row)] : p.row.name)),
    datasets: Object.entries(PHASES).map(([phase, [label, colour]]) => ({
      label, phase, of: shown, backgroundColor: colour, barPercentage: 0.85, categoryPercentage: 0.9,
      data: shown.map((p) => p.n.phases[phase] * 1e3)})),
  }, {
    x: {stacked: true, beginAtZero: true, title: {display: true, text: 'time, ms', color: ink('--ink'), font: {size: 13}},
      grid: {color: ink('--line'), borderColor: ink('--faint')}, ticks: {color: ink('--faint'), maxRotation: 0}},
    y: {stacked: true, grid: {display: false}, ticks: {color: ink('--ink'), autoSkip: false, font: {size: 11}}},
  }, {
    legend: {display: true, labels: {color: ink('--ink'), boxWidth: 14}},
    tooltip: {callbacks: {label: phaseText}},
  }, {indexAxis: 'y'});
}

const phaseCsv = () => csv([['name', ...Object.keys(PHASES), 'time'], ...phaseRows().map((p) =>
  [p.row.name, ...Object.keys(PHASES).map((phase) => p.n.phases[phase]), p.n.time])]);
