// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The chart of one number against another, drawn by Chart.js.
let chart = {options: {scales: {x: {min: 1, max: 10}}}};  // until it is drawn

// What axes may show: the name, and the number as it is drawn; less is better
// but for those that say more. All are logarithmic.
const times = (key, factor) => (n) => (isNumber(n[key]) ? n[key] * factor : NaN);
const shortOfOne = (key) => (n) => (isNumber(n[key]) ? Math.max(0, 1 - n[key]) : NaN);
const X_AXES = {
  time: ['time, ms', times('time', 1e3)],
  token_time: ['time of a token, ms', times('token_time', 1e3)],
  speedup: ['times as fast as exact (more is better)', times('speedup', 1)],
  flops: ['GFLOP', times('flops', 1e-9)],
  bytes: ['MB', times('bytes', 1e-6)],
  workspace_bytes: ['workspace, KiB', times('workspace_bytes', 1 / 1024)],
  density: ['density', times('density', 1)],
};
const Y_AXES = {
  rel_l2: ['relative L2 error', times('rel_l2', 1)],
  mass_mean: ['mass lost', shortOfOne('mass_mean')],
  cosine: ['1 - cosine', shortOfOne('cosine')],
  max_abs: ['largest error', times('max_abs', 1)],
};
const axes = {x: data.run.queries > 0 ? 'token_time' : 'time', y: 'rel_l2', whole: false};

// What is drawn now: rows that are shown, passed, and have both numbers. Without
// the whole range the picture is that of the approximations: those that are
// exact but for rounding stand at its lower edge, slower ones than twice all of
// them at its right one, and those farther from the truth than zeros twice over,
// which no longer approximate it, at its upper one.
const FAR = 2;
function points() {
  const shown = rows.map((row, index) => ({row, index, n: numbers(row)}))
    .map((p) => ({...p, x: X_AXES[axes.x][1](p.n), y: Y_AXES[axes.y][1](p.n)}))
    .filter((p) => !hidden.has(p.index) && p.n.gate === 'ok' && isNumber(p.x) && p.x > 0 && isNumber(p.y));
  const rounding = withoutRounding(0);
  const near = shown.filter((p) => p.n.rel_l2 > rounding && p.n.rel_l2 < FAR);
  const approximate = near.length ? near : shown.filter((p) => p.n.rel_l2 > rounding);
  const positive = shown.map((p) => p.y).filter((y) => y > 0);
  const floor = positive.length ? Math.min(...positive) / 10 : 1e-9;
  for (const p of shown) p.y = Math.max(p.y, floor);
  if (!shown.length) return {shown, x: [1, 10], y: [1e-7, 1]};
  if (axes.whole || !approximate.length) {
    return {shown, x: limits(shown.map((p) => p.x), 1.25), y: limits(shown.map((p) => p.y), 3)};
  }
  const baseline = shown.filter((p) => p.row.baseline);
  const y = limits(approximate.map((p) => p.y), 1.6);
  const x = limits([...approximate, ...baseline].map((p) => p.x), 1.25);
  x[1] *= 1.6;
  for (const p of shown) {
    p.edge = p.y < y[0] || p.x > x[1] || p.x < x[0] || p.y > y[1];
    p.x = Math.min(Math.max(p.x, x[0]), x[1]);
    p.y = Math.min(Math.max(p.y, y[0]), y[1]);
  }
  return {shown, x, y};
}

// Short lines: a phone is some forty letters wide.
function tooltip(p) {
  const n = p.n;
  const lines = [
    knobText(p.row),
    `time ${show(milliseconds, n.time)} ms \u00b1 ${show(fixed(1), 100 * n.spread)} %`,
    `${show(fixed(2), n.speedup)} \u00d7 as fast as exact`,
    `rel L2 ${show(short, n.rel_l2)}, max abs ${show(short, n.max_abs)}`,
    `cosine ${show(fixed(6), n.cosine)}`];
  if (isNumber(n.density)) lines.push(`density ${show(fixed(3), n.density)}`);
  if (isNumber(n.mass_mean)) {
    lines.push(`mass ${show(fixed(4), n.mass_mean)}, p05 ${show(fixed(4), n.mass_p05)}`);
  }
  lines.push(
    `${show(fixed(3, 1e-9), n.flops)} GFLOP, ${show(fixed(2, 1e-6), n.bytes)} MB`,
    `workspace ${show(fixed(0, 1 / 1024), n.workspace_bytes)} KiB`,
    n.beaten_by_zeros ? 'zeros would be as near to the truth' : '',
    n.pareto ? 'on the frontier' : '',
    p.edge ? 'stands outside the picture' : '');
  return lines.filter((line) => line !== '');
}

// Segments from side to side of each time's spread; NaN parts them.
function errorBars(shown) {
  const scale = {time: 1e3, token_time: 1e3 * shown[0]?.n.token_time / shown[0]?.n.time}[axes.x];
  if (!scale) return [];
  return shown.filter((p) => isNumber(p.n.mad) && !p.edge).flatMap((p) => [
    {x: Math.max((p.n.time - p.n.mad) * scale, p.x / 10), y: p.y}, {x: (p.n.time + p.n.mad) * scale, y: p.y},
    {x: NaN, y: NaN}]);
}

// Lines between rows of one variant that differ in one knob, in the order they
// were asked for; NaN parts them.
function alongKnobs(among) {
  const gap = {x: NaN, y: NaN};
  const oneApart = (a, b) => Object.keys(a.row.knobs).filter((k) => a.row.knobs[k] !== b.row.knobs[k]).length === 1;
  return among.slice(1).flatMap((p, i) => (oneApart(among[i], p)
    ? [{x: among[i].x, y: among[i].y}, {x: p.x, y: p.y}, gap] : []));
}

function datasets() {
  const {shown, x, y} = points();
  const line = {showLine: true, pointRadius: 0, pointHitRadius: 0, pointHoverRadius: 0,
    guide: true, borderWidth: 2, order: 2};
  const sets = families.map((name) => ({
    label: name,
    data: shown.filter((p) => p.row.variant === name),
    backgroundColor: style[name].colour,
    borderColor: ink('--paper'),
    borderWidth: 1,
    pointStyle: style[name].mark,
    radius: 7, hoverRadius: 10, hitRadius: 6, clip: false,
    order: 1, labelOf: (p) => (p.edge ? '' : labelOfRow(p.row)),
  })).filter((set) => set.data.length);
  for (const name of families) {
    const along = alongKnobs(shown.filter((p) => p.row.variant === name && !p.edge));
    if (!along.length) continue;
    sets.push({...line, label: `${name} along its knobs`, borderColor: `${style[name].colour}80`,
      borderWidth: 1, data: along, spanGaps: false, order: 3});
  }
  sets.push({...line, label: 'spread', borderColor: ink('--ink'), borderWidth: 1.5,
    data: errorBars(shown), spanGaps: false, order: 0});
  if (['time', 'token_time'].includes(axes.x) && axes.y === 'rel_l2') {
    sets.push({...line, label: 'frontier', stepped: 'before', borderColor: ink('--guide'),
      data: frontier(shown).map((p) => ({x: p.x, y: p.y}))});
  }
  const exact = X_AXES[axes.x][1](numbers(rows.find((row) => row.baseline)));
  if (isNumber(exact) && exact >= x[0] && exact <= x[1]) {
    sets.push({...line, label: 'exact', borderColor: ink('--ink'), borderWidth: 1,
      borderDash: [4, 4], data: y.map((end) => ({x: exact, y: end}))});
  }
  return {sets, x, y};
}

function draw() {
  const {sets, x, y} = datasets();
  const scales = {
    x: {...logAxis(`${X_AXES[axes.x][0]} (log scale)`, amountLabel), min: x[0], max: x[1]},
    y: {...logAxis(`${Y_AXES[axes.y][0]} (log scale)`, errorLabel), min: y[0], max: y[1]},
  };
  if (chart.canvas) {
    chart.data.datasets = sets;
    chart.options.scales = scales;
    chart.update();
  } else {
    chart = new Chart(document.getElementById('chart'), {
      type: 'scatter',
      data: {datasets: sets}, plugins: [pointLabels],
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, layout: {padding: 10},
        onClick: (event, active) => {
          const point = active.map((a) => chart.data.datasets[a.datasetIndex].data[a.index])
            .find((p) => p.row);
          if (point) mark(point.index, true);
        },
        scales,
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

// Tells the page's test what was really drawn: points around whose middle the colour
// of some variant stands in two places of six, none of them on the bar of its spread.
// A line across them is not enough, nor does one hide them.
const BESIDE = [[0, -3], [0, 3], [-2, -2], [2, -2], [-2, 2], [2, 2]];
function selfCheck() {
  const canvas = chart.canvas, context = canvas.getContext('2d');
  const scale = canvas.width / canvas.clientWidth;
  const colours = Object.values(style).map((s) =>
    [1, 3, 5].map((at) => parseInt(s.colour.slice(at, at + 2), 16)));
  let count = 0, painted = 0;
  chart.data.datasets.forEach((set, i) => {
    if (set.guide) return;
    for (const point of chart.getDatasetMeta(i).data) {
      ++count;
      const coloured = BESIDE.filter(([dx, dy]) => {
        const pixel = context.getImageData((point.x + dx) * scale, (point.y + dy) * scale, 1, 1).data;
        const like = (colour) => colour.every((part, c) => Math.abs(part - pixel[c]) < 32);
        return pixel[3] > 200 && colours.some(like);
      });
      if (coloured.length >= 2) ++painted;
    }
  });
  Object.assign(document.documentElement.dataset, {
    points: count, painted, rows: rows.length, tableRows: body.children.length,
    xAxis: axes.x, yAxis: axes.y, lengths: data.sweep ? data.sweep.tokens.length : 0,
    errors: pageErrors.length, firstError: pageErrors[0] || ''});
}
