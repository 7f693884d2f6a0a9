// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Error against time, drawn by Chart.js.
let chart = {options: {scales: {x: {min: 1, max: 10}}}};  // until it is drawn

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

// Short lines: a phone is some forty letters wide.
function tooltip(p) {
  const n = p.n;
  const lines = [
    knobText(p.row),
    `time ${show(milliseconds, n.time)} ms \u00b1 ${show(fixed(1), 100 * n.mad / n.time)} %`,
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
    n.pareto ? 'on the frontier' : '');
  return lines.filter((line) => line !== '');
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
  const best = frontier(drawn, (p) => withoutRounding(p.n.rel_l2), (p) => p.x);
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

// 1, 2, 5, 10, 20, ...; all that Chart.js places, where it zoomed in so far that
// few of those would be left.
function timeLabel(value) {
  const {min, max} = chart.options.scales.x;
  const leading = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  const round = [1, 2, 3, 5, 7].some((digit) => Math.abs(leading - digit) < 1e-6);
  const tidy = String(Number(value.toPrecision(2)));
  return round || (max / min < 3 && Math.abs(Number(tidy) / value - 1) < 1e-6) ? tidy : null;
}

// 1, 0.1, 0.01, then powers of ten.
function errorLabel(value) {
  const power = Math.round(Math.log10(value));
  if (Math.abs(Math.log10(value) - power) > 1e-9) return null;
  if (power >= -2 && power <= 3) return String(Number(value.toPrecision(1)));
  return '10' + String(power).replace('-', '\u207b')
    .replace(/[0-9]/g, (digit) => '\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079'[digit]);
}

function draw() {
  const {sets, x, y} = datasets();
  if (chart.canvas) {
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
            title: {display: true, text: 'time, ms (log scale)', color: '#1b1f24', font: {size: 13}},
            ticks: {maxRotation: 0, autoSkipPadding: 16, color: '#3a424a',
              callback: (value) => timeLabel(value)}},
          y: {type: 'logarithmic', min: y[0], max: y[1],
            title: {display: true, text: 'relative L2 error (log scale)', color: '#1b1f24', font: {size: 13}},
            ticks: {color: '#3a424a', callback: (value) => errorLabel(value)}},
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

// Tells the page's test what was really drawn: points in whose middle stands the
// colour of some variant. A grid line there is not enough.
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
      const pixel = context.getImageData(point.x * scale, point.y * scale, 1, 1).data;
      const like = (colour) => colour.every((part, c) => Math.abs(part - pixel[c]) < 32);
      if (pixel[3] > 200 && colours.some(like)) ++painted;
    }
  });
  Object.assign(document.documentElement.dataset, {
    points: count, painted, rows: rows.length, tableRows: body.children.length,
    errors: pageErrors.length, firstError: pageErrors[0] || ''});
}
