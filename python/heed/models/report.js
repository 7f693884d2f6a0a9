// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The pictures of `heed eval`: one colour a variant, whatever its knobs.
const data = JSON.parse(document.getElementById('data').textContent);
const PALETTE = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6d31', '#7b5ea7', '#888888'];
const SHAPES = ['circle', 'rect', 'triangle', 'rectRot', 'star', 'cross'];
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isNumber = (value) => typeof value === 'number' && isFinite(value);
const variants = data.rows.filter((row) => row.spec !== 'exact');
const families = [...new Set(variants.map((row) => row.spec.split(':')[0]))];
const family = (row) => families.indexOf(row.spec.split(':')[0]);
const colour = (row) => PALETTE[family(row) % PALETTE.length];
const drawn = {};

function draw(id, config) {
  drawn[id]?.destroy();
  Chart.defaults.color = ink('--ink');
  Chart.defaults.borderColor = ink('--line');
  const options = {animation: false, maintainAspectRatio: false, ...config.options};
  drawn[id] = new Chart(document.getElementById(id), {...config, options});
}

const axis = (type, text, more = {}) => ({type, title: {display: true, text}, ...more});

// A point a variant, and lines across at heights that have names.
function scatter(id, x, y, xAxis, yAxis, guides = {}) {
  const points = variants.filter((row) => isNumber(x(row)) && isNumber(y(row)));
  const sets = points.map((row) => ({
    label: row.spec, data: [{x: x(row), y: y(row)}], borderColor: colour(row), backgroundColor: colour(row),
    pointStyle: SHAPES[family(row) % SHAPES.length], radius: 6,
  }));
  const xs = points.map(x);
  const [low, high] = [Math.min(...xs, 1), Math.max(...xs, 1)];
  for (const [name, height] of Object.entries(guides)) {
    sets.push({label: name, type: 'line', data: [{x: low, y: height}, {x: high, y: height}], borderColor: ink('--faint'),
      borderDash: [4, 4], borderWidth: 1, radius: 0});
  }
  draw(id, {type: 'scatter', data: {datasets: sets},
    options: {scales: {x: xAxis, y: yAxis}, plugins: {legend: {position: 'right'}}}});
}

function positions(text) {
  const exact = data.rows.find((row) => row.spec === 'exact')?.positions[text];
  if (!exact) return;
  const sets = variants.filter((row) => row.positions[text]).map((row) => ({
    label: row.spec, borderColor: colour(row), backgroundColor: colour(row), showLine: true,
    data: row.positions[text].map(([first, last, mean], i) => ({x: Math.sqrt(first * last), y: mean - exact[i][2]})),
  }));
  draw('positions', {type: 'scatter', data: {datasets: sets},
    options: {scales: {x: axis('logarithmic', 'token'), y: axis('linear', 'nats over exact')},
      plugins: {legend: {position: 'right'}}}});
}

function prediction(name) {
  scatter('prediction', (row) => row.predictors[name], (row) => row.kld, axis('linear', name), axis('logarithmic', 'KLD'));
}

function choose(id, names, act) {
  const select = document.getElementById(id);
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  select.addEventListener('change', () => act(select.value));
  if (names.length) act(names[0]);
}

const time = axis('logarithmic', 'time of attention over exact');
const guides = {...data.ladder, ...Object.fromEntries(data.rows.filter((row) => row.yardstick && row.kld > 0)
  .map((row) => [row.spec, row.kld]))};
scatter('frontier', (row) => row.time, (row) => row.kld, time, axis('logarithmic', 'KLD'), guides);
scatter('recall', (row) => row.time, (row) => row.share, time, axis('linear', 'worst task: share left', {max: 1.1}));
choose('text', Object.keys(data.rows[0]?.positions || {}), positions);
choose('predictor', data.predictors, prediction);
