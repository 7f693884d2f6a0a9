// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One number for the frontier of a variant, on each layer by itself: the share that
// its rows reach of a picture of fixed size. It is log(exact's time over time)
// by log(1 over error), up to these ends.
const REACH = {speedup: 100, accuracy: 1e4};

// The area of the corner [0, u] x [0, v] of all points together.
function coverage(points) {
  const share = (value, most) => Math.min(1, Math.max(0, Math.log(value) / Math.log(most)));
  const corners = points.map((p) => [share(p.speedup, REACH.speedup), share(1 / Math.max(p.error, 1e-300), REACH.accuracy)])
    .sort((a, b) => b[0] - a[0]);
  let area = 0, height = 0;
  corners.forEach(([u, v], i) => {
    height = Math.max(height, v);
    area += height * (u - (corners[i + 1]?.[0] ?? 0));
  });
  return area;
}

const quantile = (sorted, level) => {
  const at = level * (sorted.length - 1), below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
};

// Of each variant that approximates, its share on every layer; the best first.
function coverages() {
  const shown = rows.filter((row, index) => !hidden.has(index) && row.gate === 'ok' && row.layers.length);
  const rounding = withoutRounding(0);
  return families.map((name) => {
    const members = shown.filter((row) => row.variant === name);
    const shares = members.some((row) => row.rel_l2 > rounding) ? layers.map((_, l) =>
      coverage(members.map((row) => row.layers[l]).filter((n) => isNumber(n.speedup) && isNumber(n.rel_l2))
        .map((n) => ({speedup: n.speedup, error: n.rel_l2})))) : [];
    const sorted = [...shares].sort((a, b) => a - b);
    return {name, shares, sorted, median: shares.length ? quantile(sorted, 0.5) : NaN};
  }).filter((family) => family.shares.length).sort((a, b) => b.median - a.median);
}

function drawCoverage() {
  const shown = coverages();
  document.getElementById('coverages').hidden = !shown.length;
  if (!shown.length) return;
  document.getElementById('coverage-box').style.height = `${90 + 24 * shown.length}px`;
  const most = Math.max(...shown.map((family) => family.sorted.at(-1)), 0.05);
  const bar = {grouped: false, categoryPercentage: 0.8, borderWidth: 0, minBarLength: 3, of: shown};
  const colours = shown.map((family) => style[family.name].colour);
  drawOn('coverage-chart', 'bar', {labels: shown.map((family) => family.name), datasets: [
    {...bar, label: 'median layer', barPercentage: 0.8, order: 0, backgroundColor: ink('--ink'),
      data: shown.map((family) => [family.median - most / 300, family.median + most / 300])},
    {...bar, label: 'middle half', barPercentage: 0.7, order: 1, backgroundColor: colours,
      data: shown.map((family) => [quantile(family.sorted, 0.25), quantile(family.sorted, 0.75)])},
    {...bar, label: 'all layers', barPercentage: 0.15, order: 2, backgroundColor: colours,
      data: shown.map((family) => [family.sorted[0], family.sorted.at(-1)])},
  ]}, {
    x: {min: 0, max: Math.min(1, 1.1 * most),
      title: {display: true, text: 'share of the picture reached (more is better)', color: ink('--ink'), font: {size: 13}},
      grid: {color: ink('--line'), borderColor: ink('--faint')}, ticks: {color: ink('--faint'), maxRotation: 0}},
    y: {grid: {display: false}, ticks: {color: ink('--ink'), autoSkip: false, font: {size: 11}}},
  }, {
    tooltip: {displayColors: false, callbacks: {label: (item) => {
      const {sorted, median} = shown[item.dataIndex];
      return `median ${median.toFixed(3)}, from ${sorted[0].toFixed(3)} to ${sorted.at(-1).toFixed(3)}`;
    }}},
  }, {indexAxis: 'y'});
}

const coverageCsv = () => csv([['variant', 'layer', 'share'], ...coverages().flatMap(({name, shares}) =>
  shares.map((share, l) => [name, layers[l].name, share]))]);
