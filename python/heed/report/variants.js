// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Pictures with a point a variant: frontiers, crossing lengths, what predicts harm.
const data = JSON.parse(document.getElementById('data').textContent);
const familyOf = (spec) => spec.split(':')[0];
const look = (name) => styleOf(name, data.semantics[name] ?? 'own reference');

// A setting in few words: its variant, and the values of the knobs in which the
// settings of that variant differ.
function shortly(spec, all) {
  const [name, ...knobs] = spec.split(':');
  const others = all.filter((other) => familyOf(other) === name).map((other) => other.split(':').slice(1));
  return [name, ...knobs.filter((knob) => others.some((other) => !other.includes(knob)))
    .map((knob) => knob.split('=')[1])].join(' ');
}

const axis = (type, text, more = {}) => ({type, title: {display: true, text, color: ink('--ink'), font: {size: 13}},
  grid: {color: ink('--line')}, ticks: {maxRotation: 0, autoSkipPadding: 16, color: ink('--faint')}, ...more});
const line = {guide: true, showLine: true, pointHitRadius: 0, borderWidth: 1, order: 3};

// A dashed line across, called by its name at its left end.
const across = (name, y, [low, high]) => ({...line, label: name, radius: [0, 0], borderDash: [4, 4],
  borderColor: ink('--faint'), data: [{x: low, y}, {x: high, y}], labelOver: true, labelOf: (p, i) => (i === 0 ? name : '')});

// Room for words behind the last points of lines.
const WORDS = 1.7;

// A dataset a family of points {x, y, spec, lines}.
function familySets(points) {
  const all = [...new Set(points.map((p) => p.spec))];
  return [...new Set(points.map((p) => familyOf(p.spec)))].map((name) => ({
    label: name, variant: name, data: points.filter((p) => familyOf(p.spec) === name),
    backgroundColor: look(name).colour, borderColor: ink('--paper'), borderWidth: 1, pointStyle: look(name).mark,
    radius: 6, hoverRadius: 9, clip: false, order: 1, labelOf: (p) => (p.plain ? '' : shortly(p.spec, all))}));
}

const pointTooltip = {filter: (item) => !item.dataset.guide, displayColors: false,
  callbacks: {title: (items) => (items.length ? items[0].raw.spec : ''), label: (item) => item.raw.lines}};

function scatter(id, points, x, y, guides = []) {
  drawOn(id, 'scatter', {datasets: [...familySets(points), ...guides]}, {x, y}, {tooltip: pointTooltip},
    {layout: {padding: 8}});
}

const timeLine = (y) => ({...line, label: 'exact', radius: 0, borderDash: [4, 4], borderColor: ink('--ink'),
  data: [{x: 1, y: y[0]}, {x: 1, y: y[1]}]});
const timeAxis = (x) => ({...logAxis('time of attention over exact (log scale)', amountLabel), min: x[0], max: x[1]});

// Error against time, both logarithmic.
function frontier(id, points, yText, guides = {}) {
  const x = limits([...points.map((p) => p.x), 1], 1.25);
  const y = limits(points.map((p) => p.y), 1.6);
  const lines = Object.entries(guides).filter(([, height]) => height > y[0] && height < y[1])
    .map(([name, height]) => across(name, height, x));
  scatter(id, points, timeAxis(x), {...logAxis(`${yText} (log scale)`, errorLabel), min: y[0], max: y[1]},
    [timeLine(y), ...lines]);
}

const kernelPoints = () => data.kernel.map((row) => ({spec: row.name, x: row.time, y: row.rel_l2,
  lines: [`relative L2 ${short(row.rel_l2)}`, `${row.time.toFixed(2)} of exact's time`, `density ${show(fixed(3), row.density)}`]}))
  .filter((p) => p.x > 0 && p.y > 1e-5 && p.y < 2);

const modelRows = () => data.variants.filter((row) => isNumber(row.time));
const modelLines = (row) => [`KLD ${show(short, row.kld)}`, `${row.time.toFixed(2)} of exact's time`,
  isNumber(row.share) ? `worst task: ${row.task}, ${Math.round(100 * row.share)} % left`
    : row.task ? 'recall not tested' : 'no task', row.verdict];

function drawFrontiers() {
  const kernel = kernelPoints();
  const model = modelRows().filter((row) => row.kld > 0)
    .map((row) => ({spec: row.spec, x: row.time, y: row.kld, lines: modelLines(row)}));
  const recall = modelRows().filter((row) => isNumber(row.share))
    .map((row) => ({spec: row.spec, x: row.time, y: row.share, lines: modelLines(row)}));
  const there = {kernel, model, recall};
  reveal('frontiers', there);
  if (kernel.length) frontier('kernel', kernel, 'relative L2 of attention');
  if (model.length) frontier('model', model, 'KLD of the next token, nats', data.guides);
  if (recall.length) {
    const x = limits([...recall.map((p) => p.x), 1], 1.25);
    scatter('recall', recall, timeAxis(x), axis('linear', 'share left of the worst task'),
      [timeLine([Math.min(0, ...recall.map((p) => p.y)), 1])]);
  }
  const names = [...new Set([...kernel, ...model, ...recall].map((p) => familyOf(p.spec)))];
  document.getElementById('families').replaceChildren(...names.map((name) => {
    const chip = element('span', undefined, 'chip'), sign = element('span', look(name).glyph, 'swatch');
    sign.style.color = look(name).colour;
    chip.append(sign, name);
    return chip;
  }));
  return there;
}

// Shows a section, and of it those parts that have something.
function reveal(id, parts) {
  const section = document.getElementById(id);
  section.hidden = !Object.values(parts).some((points) => points.length);
  for (const part of section.querySelectorAll('[data-needs]')) part.hidden = !parts[part.dataset.needs].length;
}

function drawCrossing() {
  const {sweep} = data;
  document.getElementById('crossing').hidden = !sweep;
  if (!sweep) return;
  const names = sweep.rows.map((row) => row.name);
  const sets = sweep.rows.map((row) => ({label: row.name, variant: familyOf(row.name), showLine: true, borderWidth: 2,
    borderColor: look(familyOf(row.name)).colour, backgroundColor: look(familyOf(row.name)).colour,
    pointStyle: look(familyOf(row.name)).mark, radius: 4,
    labelOf: (p) => (p.x === sweep.tokens.at(-1) ? shortly(row.name, names) : ''),
    data: sweep.tokens.map((x, i) => ({x, y: row.time[i], spec: row.name, lines: [`${x} tokens: ${show(fixed(2), row.time[i])} of exact's time`]}))
      .filter((p) => p.y > 0)}));
  const x = limits(sweep.tokens, 1.1);
  x[1] *= WORDS;
  drawOn('lengths', 'scatter', {datasets: [...sets, across('exact', 1, x)]}, {
    x: {...logAxis('tokens (log scale)', String), min: x[0], max: x[1],
      afterBuildTicks(of) { of.ticks = sweep.tokens.map((value) => ({value})); }},
    y: logAxis('time of attention over exact (log scale)', amountLabel)}, {tooltip: pointTooltip}, {layout: {padding: 8}});
}

function drawPositions(text) {
  const exact = data.exactPositions[text];
  const rows = data.variants.filter((row) => row.positions[text]);
  const all = rows.map((row) => row.spec);
  const sets = rows.map((row) => ({label: row.spec, variant: familyOf(row.spec), showLine: true, borderWidth: 2,
    borderColor: look(familyOf(row.spec)).colour, backgroundColor: look(familyOf(row.spec)).colour,
    pointStyle: look(familyOf(row.spec)).mark, radius: 3,
    labelOf: (p, i) => (i === exact.length - 1 ? shortly(row.spec, all) : ''),
    data: row.positions[text].map(([first, last, mean], i) => ({x: Math.sqrt(first * last), y: mean - exact[i][2],
      spec: row.spec, lines: [`tokens ${first} to ${last}: ${(mean - exact[i][2]).toFixed(3)} nats`]}))}));
  drawOn('positions', 'scatter', {datasets: sets}, {x: {...logAxis('token (log scale)', amountLabel), max: WORDS * 1.4 * exact.at(-1)[1]},
    y: axis('linear', "nats over exact attention's")}, {tooltip: pointTooltip}, {layout: {padding: 8}});
}

// Harm against a number of attention. Logarithmic where all numbers are positive.
function drawHarm(id, points, xName, yName, plain) {
  const shown = points.filter((p) => isNumber(p.x) && isNumber(p.y)).map((p) => ({...p, plain,
    lines: [...(p.layer === undefined ? [] : [`layer ${p.layer}`]), `${xName} ${short(p.x)}`, `${yName} ${short(p.y)}`]}));
  const kind = (key, text) => (shown.every((p) => p[key] > 0) ? logAxis(`${text} (log scale)`, errorLabel) : axis('linear', text));
  scatter(id, shown, kind('x', xName), kind('y', yName));
}
