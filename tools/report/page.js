// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The report: reads the data element, draws the chart, fills table and footer.
// All text from the data goes through textContent.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const rows = data.rows;
const layers = data.input.layers;

// Okabe and Ito's palette without its yellow, which vanishes on white; exact is
// black. The marks differ too, for print and for eyes that colours fail.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];
const MARKS = ['circle', 'triangle', 'rectRot', 'rect', 'rectRounded', 'triangle'];
const families = [...new Set(rows.map((row) => row.variant))];
const style = {};
for (const name of families) {
  const i = Object.keys(style).filter((other) => other !== 'exact').length;
  style[name] = name === 'exact'
    ? {colour: '#000000', mark: 'rect'}
    : {colour: COLOURS[i % COLOURS.length], mark: MARKS[i % MARKS.length]};
}

let layer = -1;  // -1: all layers together
const hidden = new Set();  // indices of rows

// ---- Numbers ----------------------------------------------------------------

const isNumber = (value) => typeof value === 'number' && isFinite(value);
function median(values) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// A row's numbers on the chosen layer, or over all.
function numbers(row) {
  if (layer < 0) return row;
  const cell = row.layers[layer];
  const time = median(cell.seconds);
  const baseline = median(rows.find((other) => other.baseline).layers[layer].seconds);
  return {...cell, time,
    mad: time === null ? null : median(cell.seconds.map((s) => Math.abs(s - time))),
    speedup: time === null || baseline === null ? null : baseline / time,
    pareto: frontier(rows, (other) => other.layers[layer].rel_l2,
      (other) => median(other.layers[layer].seconds)).includes(row)};
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
const short = (value) => (value === 0 ? '0' : value.toExponential(1));
const milliseconds = (seconds) => {
  const ms = seconds * 1e3;
  return ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toPrecision(3);
};
const show = (format, value) => (isNumber(value) ? format(value) : '\u2013');

const COLUMNS = [
  {key: 'time', title: 'time ms', format: milliseconds, define: 'time'},
  {key: 'spread', title: '\u00b1 %', format: fixed(1), define: 'mad',
    value: (n) => (isNumber(n.time) ? 100 * n.mad / n.time : null)},
  {key: 'speedup', title: '\u00d7 exact', format: fixed(2), define: 'speedup'},
  {key: 'rel_l2', title: 'rel L2', format: short, define: 'rel_l2'},
  {key: 'max_abs', title: 'max abs', format: short, define: 'max_abs'},
  {key: 'cosine', title: 'cosine', format: fixed(6), define: 'cosine'},
  {key: 'density', title: 'density', format: fixed(3), define: 'density'},
  {key: 'mass_mean', title: 'mass', format: fixed(4), define: 'mass_mean'},
  {key: 'mass_p05', title: 'mass p05', format: fixed(4), define: 'mass_p05'},
  {key: 'flops', title: 'GFLOP', format: fixed(3, 1e-9), define: 'flops'},
  {key: 'bytes', title: 'MB', format: fixed(2, 1e-6), define: 'bytes'},
  {key: 'workspace_bytes', title: 'work KiB', format: fixed(0, 1 / 1024), define: 'workspace_bytes'},
];
const valueOf = (column, n) => (column.value ? column.value(n) : n[column.key]);
const knobText = (row) => Object.entries(row.knobs).map(([k, v]) => `${k}=${v}`).join(' ');

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// ---- Chart ------------------------------------------------------------------

let chart = null;

// What is drawn now: rows that are shown, passed, and have both numbers. A log
// axis has no zero: an error of 0 is drawn below the smallest other error.
function points() {
  const shown = rows.map((row, index) => ({row, index, n: numbers(row)}))
    .filter((p) => !hidden.has(p.index) && isNumber(p.n.time) && isNumber(p.n.rel_l2));
  const positive = shown.map((p) => p.n.rel_l2).filter((error) => error > 0);
  const floor = positive.length ? Math.min(...positive) / 10 : 1e-9;
  for (const p of shown) {
    p.x = p.n.time * 1e3;
    p.y = p.n.rel_l2 > 0 ? p.n.rel_l2 : floor;
  }
  return shown;
}

function tooltip(p) {
  const n = p.n;
  const part = (title, text) => `${title} ${text}`;
  return [
    knobText(p.row),
    `time ${show(milliseconds, n.time)} ms \u00b1 ${show(fixed(1), 100 * n.mad / n.time)} %`
      + ` (${show(fixed(2), n.speedup)} \u00d7 exact)`,
    `rel L2 ${show(short, n.rel_l2)}, max abs ${show(short, n.max_abs)}, cosine ${show(fixed(6), n.cosine)}`,
    `density ${show(fixed(3), n.density)}, mass ${show(fixed(4), n.mass_mean)}, p05 ${show(fixed(4), n.mass_p05)}`,
    `${show(fixed(3, 1e-9), n.flops)} GFLOP, ${show(fixed(2, 1e-6), n.bytes)} MB, `
      + part('work', show(fixed(0, 1 / 1024), n.workspace_bytes)) + ' KiB',
    `gate ${n.gate}${n.pareto ? ', on the frontier' : ''}`,
  ].filter((line) => line !== '');
}

function limits(values, room) {
  const low = Math.min(...values), high = Math.max(...values);
  return [low / room, high * room];
}

function datasets() {
  const drawn = points();
  const sets = families.map((name) => ({
    label: name,
    data: drawn.filter((p) => p.row.variant === name),
    backgroundColor: style[name].colour,
    borderColor: '#ffffff',
    borderWidth: 1,
    pointStyle: style[name].mark,
    radius: 7, hoverRadius: 10, hitRadius: 6,
    order: 1,
  }));
  const line = {showLine: true, pointRadius: 0, pointHitRadius: 0, pointHoverRadius: 0,
    guide: true, borderWidth: 2, order: 2};
  const best = frontier(drawn, (p) => p.y, (p) => p.x);
  sets.push({...line, label: 'frontier', stepped: 'before', borderColor: '#9aa4ad',
    data: best.map((p) => ({x: p.x, y: p.y}))});
  const exact = numbers(rows.find((row) => row.baseline));
  let x = [1, 10], y = [1e-7, 1];
  if (drawn.length) {
    const times = drawn.map((p) => p.x);
    if (isNumber(exact.time)) times.push(exact.time * 1e3);
    x = limits(times, 1.25);
    y = limits(drawn.map((p) => p.y), 3);
  }
  if (isNumber(exact.time)) {
    sets.push({...line, label: 'time of exact', borderColor: '#000000', borderWidth: 1,
      borderDash: [4, 4], data: y.map((end) => ({x: exact.time * 1e3, y: end}))});
  }
  return {sets, x, y};
}

const isPower = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
const leading = (value) => Math.round(value / 10 ** Math.floor(Math.log10(value) + 1e-9));

function draw() {
  const {sets, x, y} = datasets();
  if (chart) {
    chart.data.datasets = sets;
    Object.assign(chart.options.scales.x, {min: x[0], max: x[1]});
    Object.assign(chart.options.scales.y, {min: y[0], max: y[1]});
    chart.update();
  } else {
    chart = new Chart(document.getElementById('chart'), {
      type: 'scatter',
      data: {datasets: sets},
      options: {
        animation: false, responsive: true, maintainAspectRatio: false,
        onClick: (event, active) => {
          const point = active.map((a) => chart.data.datasets[a.datasetIndex].data[a.index])
            .find((p) => p.row);
          if (point) mark(point.index, true);
        },
        scales: {
          x: {type: 'logarithmic', min: x[0], max: x[1],
            title: {display: true, text: 'time, ms (log)'},
            ticks: {maxRotation: 0, autoSkipPadding: 12,
              callback: (value) => ([1, 2, 5].includes(leading(value)) ? String(+value.toPrecision(3)) : null)}},
          y: {type: 'logarithmic', min: y[0], max: y[1],
            title: {display: true, text: 'relative L2 error (log)'},
            ticks: {callback: (value) => (isPower(value) ? value.toExponential(0) : null)}},
        },
        plugins: {
          legend: {display: false},
          tooltip: {
            filter: (item) => !item.dataset.guide,
            displayColors: false,
            callbacks: {
              title: (items) => (items.length ? items[0].raw.row.variant : ''),
              label: (item) => tooltip(item.raw),
            },
          },
        },
      },
    });
  }
  selfCheck();
}

// Tells the page's test what was really drawn: points whose middle is painted.
function selfCheck() {
  const canvas = chart.canvas, context = canvas.getContext('2d');
  const scale = canvas.width / canvas.clientWidth;
  let count = 0, painted = 0;
  chart.data.datasets.forEach((set, i) => {
    if (set.guide) return;
    for (const point of chart.getDatasetMeta(i).data) {
      ++count;
      const pixel = context.getImageData(point.x * scale, point.y * scale, 1, 1).data;
      if (pixel[3] > 0) ++painted;
    }
  });
  Object.assign(document.documentElement.dataset, {
    points: count, painted, rows: rows.length, errors: pageErrors.length,
    firstError: pageErrors[0] || ''});
}

// ---- Table ------------------------------------------------------------------

let sort = {key: 'time', falling: false};
const body = document.querySelector('#table tbody');

function fillHead() {
  const head = element('tr');
  const add = (key, title, tip, className) => {
    const cell = element('th', undefined, className);
    cell.scope = 'col';
    const button = element('button', title);
    button.type = 'button';
    button.title = tip;
    button.addEventListener('click', () => {
      sort = {key, falling: sort.key === key && !sort.falling};
      fillTable();
    });
    cell.dataset.key = key;
    cell.append(button);
    head.append(cell);
  };
  add('name', 'variant', 'name and knobs', 'name');
  for (const column of COLUMNS) add(column.key, column.title, data.definitions[column.define] || '');
  add('gate', 'gate', data.definitions.gate);
  add('pareto', 'frontier', data.definitions.pareto);
  document.querySelector('#table thead').append(head);
}

function sortValue(row) {
  const n = numbers(row);
  if (sort.key === 'name') return row.name;
  if (sort.key === 'gate') return n.gate;
  if (sort.key === 'pareto') return n.pareto ? 0 : 1;
  const column = COLUMNS.find((c) => c.key === sort.key);
  const value = valueOf(column, n);
  return isNumber(value) ? value : null;
}

// Missing numbers stay last, whichever the direction.
function compareRows(a, b) {
  const x = sortValue(rows[a]), y = sortValue(rows[b]);
  if (x === null || y === null) return (x === null) - (y === null);
  const order = x < y ? -1 : x > y ? 1 : 0;
  return sort.falling ? -order : order;
}

function nameCell(row, index) {
  const cell = element('td', undefined, 'name');
  const label = element('label');
  const tick = element('input');
  tick.type = 'checkbox';
  tick.checked = !hidden.has(index);
  tick.setAttribute('aria-label', `Show ${row.name}`);
  tick.addEventListener('change', () => {
    tick.checked ? hidden.delete(index) : hidden.add(index);
    refresh();
  });
  const swatch = element('span', undefined, 'swatch');
  swatch.style.background = style[row.variant].colour;
  const words = element('span', undefined, 'words');
  words.append(element('strong', row.variant), ' ', element('small', knobText(row)));
  words.title = row.summary;
  label.append(tick, swatch, words);
  cell.append(label);
  return cell;
}

function fillTable() {
  for (const cell of document.querySelectorAll('#table th')) {
    const sorted = cell.dataset.key === sort.key;
    sorted ? cell.setAttribute('aria-sort', sort.falling ? 'descending' : 'ascending')
      : cell.removeAttribute('aria-sort');
  }
  const order = rows.map((row, index) => index).sort(compareRows);
  body.replaceChildren(...order.map((index) => {
    const row = rows[index], n = numbers(row);
    const line = element('tr', undefined, hidden.has(index) ? 'off' : '');
    line.dataset.index = index;
    line.append(nameCell(row, index));
    for (const column of COLUMNS) line.append(element('td', show(column.format, valueOf(column, n))));
    const gate = element('td', n.gate, n.gate === 'ok' ? '' : 'failed');
    gate.title = n.reason;
    line.append(gate, element('td', n.pareto ? '\u2605' : ''));
    line.addEventListener('mouseenter', () => point(index));
    return line;
  }));
}

// Marks a row of the table.
function mark(index, scroll) {
  for (const line of body.children) {
    const marked = Number(line.dataset.index) === index;
    line.classList.toggle('marked', marked);
    if (marked && scroll) line.scrollIntoView({block: 'nearest'});
  }
}

// Lifts a row's point in the chart.
function point(index) {
  const active = [];
  chart.data.datasets.forEach((set, datasetIndex) => {
    if (set.guide) return;
    set.data.forEach((p, i) => p.index === index && active.push({datasetIndex, index: i}));
  });
  chart.setActiveElements(active);
  chart.update();
}

// ---- Around -----------------------------------------------------------------

function fillFamilies() {
  const box = document.getElementById('families');
  box.replaceChildren(...families.map((name) => {
    const members = rows.map((row, i) => i).filter((i) => rows[i].variant === name);
    const label = element('label');
    const tick = element('input');
    tick.type = 'checkbox';
    const shown = members.filter((i) => !hidden.has(i)).length;
    tick.checked = shown > 0;
    tick.indeterminate = shown > 0 && shown < members.length;
    label.classList.toggle('off', shown === 0);
    tick.addEventListener('change', () => {
      for (const i of members) tick.checked ? hidden.delete(i) : hidden.add(i);
      refresh();
    });
    const swatch = element('span', undefined, 'swatch');
    swatch.style.background = style[name].colour;
    label.append(tick, swatch, members.length > 1 ? `${name} (${members.length})` : name);
    label.title = rows[members[0]].summary;
    return label;
  }));
}

function fillReasons() {
  const bad = rows.filter((row) => numbers(row).gate !== 'ok');
  document.getElementById('reasons').replaceChildren(
    ...bad.map((row) => element('li', `${row.name} ${numbers(row).gate}, so no time is shown: ${numbers(row).reason}`)));
  const zero = rows.some((row) => numbers(row).rel_l2 === 0);
  document.getElementById('zero-note').textContent = zero
    ? 'A log axis has no zero: an error of 0 is drawn ten times below the smallest other one.' : '';
}

function describe(list, entries) {
  for (const [term, text] of entries) {
    if (text === undefined || text === null || text === '') continue;
    list.append(element('dt', term), element('dd', String(text)));
  }
}

function fillAround() {
  const meta = data.input.metadata || {};
  const what = data.input.synthetic ? `Random tensors, ${data.input.name}.`
    : `${meta.model || data.input.name}${meta.text ? `, reading ${meta.text}` : ''}.`;
  const passed = rows.filter((row) => row.gate === 'ok').length;
  document.getElementById('lead').textContent =
    `${what} ${layers.length} layer${layers.length === 1 ? '' : 's'}, ${rows.length} rows; ` +
    `${passed} passed their check before they were timed. ${data.environment.cpu}, ` +
    `${data.run.threads} thread${data.run.threads === 1 ? '' : 's'}.`;
  const select = document.getElementById('layer');
  const choice = (value, text) => {
    const option = element('option', text);
    option.value = value;
    return option;
  };
  select.append(choice(-1, 'all together'), ...layers.map((l, i) => choice(i, l.name)));
  select.addEventListener('change', () => {
    layer = Number(select.value);
    refresh();
  });
  document.getElementById('layer-choice').hidden = layers.length < 2;
  describe(document.querySelector('#definitions dl'), Object.entries(data.definitions));
  const caches = data.environment.caches
    .filter((c) => c.type !== 'Instruction').map((c) => `L${c.level} ${c.size}`).join(', ');
  describe(document.getElementById('environment'), [
    ['CPU', `${data.environment.cpu}, ${data.environment.processors} processors`],
    ['Caches', caches],
    ['Kernel', data.run.target],
    ['Plan', data.run.plan],
    ['Threads', `${data.run.threads} (${data.run.thread_library})`],
    ['Rounds', data.run.repeats],
    ['Seed', data.input.synthetic ? data.run.seed : null],
    ['Command', data.command],
    ['Date', data.began],
    ['heed', `${data.environment.version} (${data.environment.compiler})`],
    ['Input', data.input.name],
    ['Problems', layers.map((l) => `${l.name}: ${l.problem}; errors on ${l.measured_rows} of ${l.rows} rows`).join('\n')],
    ...Object.entries(meta).map(([key, value]) => [`Input: ${key}`, value]),
  ]);
}

function refresh() {
  fillTable();
  fillFamilies();
  fillReasons();
  draw();
}

fillHead();
fillAround();
refresh();
// Resized late and to the paper: the canvas is a picture when it is printed.
window.addEventListener('beforeprint', () => chart.resize(900, 420));
window.addEventListener('afterprint', () => chart.resize());
window.addEventListener('resize', () => setTimeout(selfCheck, 100));
