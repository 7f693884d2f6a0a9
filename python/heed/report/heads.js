// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Pictures of heads: types, pruning; and of what interventions take.

// Layers by heads: a bar a layer, which its heads share out, coloured by type.
function drawAtlas() {
  const {atlas} = data;
  document.getElementById('heads').hidden = !atlas;
  if (!atlas) return;
  const count = Math.max(...atlas.layers.map((heads) => heads.length));
  document.getElementById('atlas-box').style.height = `${70 + 16 * atlas.layers.length}px`;
  const sets = Array.from({length: count}, (_, head) => ({
    label: String(head), data: atlas.layers.map((heads) => (head < heads.length ? 1 : 0)),
    backgroundColor: atlas.layers.map((heads) => heads[head]?.colour ?? 'transparent'),
    borderColor: ink('--paper'), borderWidth: 1, borderSkipped: false, barPercentage: 1, categoryPercentage: 1}));
  drawOn('atlas', 'bar', {labels: atlas.layers.map((_, layer) => layer), datasets: sets}, {
    x: {...axis('linear', 'head'), stacked: true, min: 0, max: count, grid: {display: false},
      afterBuildTicks(of) { of.ticks = Array.from({length: count}, (_, head) => ({value: head + 0.5})); },
      ticks: {color: ink('--faint'), maxRotation: 0, callback: (value) => String(Math.floor(value))}},
    y: {...axis('category', 'layer'), stacked: true, grid: {display: false}, ticks: {color: ink('--faint'), autoSkip: true}},
  }, {
    legend: {display: false, entries: () => atlas.types.filter((type) => type.heads).map(({name, colour}) =>
      ({text: name, fillStyle: colour, strokeStyle: colour, fontColor: ink('--ink')}))},
    tooltip: {displayColors: false, callbacks: {title: ([item]) => `layer ${item.dataIndex}, head ${item.datasetIndex}`,
      label: (item) => atlas.layers[item.dataIndex][item.datasetIndex].lines}}}, {indexAxis: 'y'}, []);
  document.getElementById('types').replaceChildren(...atlas.types.map(({name, colour, heads}) => {
    const chip = element('span', undefined, 'chip'), sign = element('span', '\u25a0', 'swatch');
    sign.style.color = colour;
    chip.append(sign, `${name}: ${heads}`);
    return chip;
  }));
}

const ORDERS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6d31', '#7b5ea7'];

// Upright bars of 1.96 errors; NaN parts them.
const upright = (points, colour) => ({...line, label: 'error', radius: 0, borderColor: colour, borderWidth: 1.5, spanGaps: false,
  data: points.filter((p) => isNumber(p.error)).flatMap((p) => [{x: p.x, y: p.y - 1.96 * p.error},
    {x: p.x, y: p.y + 1.96 * p.error}, {x: NaN, y: NaN}])});

function drawPruning(id, key, text) {
  const {pruning} = data;
  const names = Object.keys(pruning.curves);
  const sets = names.flatMap((name, i) => {
    const points = pruning.curves[name].map((p) => ({x: 100 * p.share, y: p[key], error: p[`${key}_error`], spec: name,
      lines: [`${p.heads} heads away: ${p[key].toFixed(3)} \u00b1 ${show(fixed(3), p[`${key}_error`])}`]}));
    const colour = ORDERS[i % ORDERS.length];
    return [{label: name, showLine: true, data: points, borderColor: colour, backgroundColor: colour, borderWidth: 2, radius: 3,
      order: 1, labelOf: (p, at) => (at === points.length - 1 ? name : '')}, upright(points, colour)];
  });
  const edge = (pick) => pruning.random[0].map((p, i) => ({x: 100 * p.share,
    y: pick(...pruning.random.map((curve) => curve[i][key]))}));
  if (pruning.random.length) {
    const grey = {...line, radius: 0, borderColor: ink('--guide'), order: 4};
    sets.push({...grey, label: 'least of random orders', data: edge(Math.min)},
      {...grey, label: 'random orders', data: edge(Math.max), backgroundColor: `${ink('--guide')}55`, fill: '-1'});
  }
  const heights = sets.flatMap((set) => set.data.map((p) => p.y)).filter(isNumber);
  const y = [Math.min(...heights), Math.max(...heights)];
  for (const x of [20, 40]) {
    sets.push({...line, label: 'mark', radius: 0, borderDash: [3, 3], borderColor: ink('--faint'),
      data: [{x, y: y[0]}, {x, y: y[1]}]});
  }
  const last = Math.max(...sets.flatMap((set) => set.data.map((p) => p.x)).filter(isNumber));
  if (key === 'margin') {
    sets.push(across('all heads', pruning.margin, [0, last]));
  }
  drawOn(id, 'scatter', {datasets: sets}, {x: axis('linear', 'heads taken away, %', {min: 0, max: Math.min(100, 10 * Math.ceil(0.135 * last))}), y: axis('linear', text)},
    {tooltip: pointTooltip}, {layout: {padding: 8}});
}

// Bars of 1.96 errors, over the ends of horizontal bars.
const whiskers = {
  id: 'whiskers',
  afterDatasetsDraw(of) {
    const {ctx, scales: {x}} = of;
    ctx.save();
    ctx.strokeStyle = ink('--ink');
    ctx.lineWidth = 1.2;
    of.data.datasets.forEach((set, index) => of.getDatasetMeta(index).data.forEach((bar, i) => {
      if (!isNumber(set.errors?.[i])) return;
      const [from, to] = [-1, 1].map((side) => x.getPixelForValue(
        Math.max(x.min, Math.min(x.max, set.data[i] + side * 1.96 * set.errors[i]))));
      ctx.beginPath();
      ctx.moveTo(from, bar.y);
      ctx.lineTo(to, bar.y);
      ctx.stroke();
    }));
    ctx.restore();
  },
};

const FACT_COLOURS = {needles: '#0072b2', facts: '#d55e00'};
const FACT_NAMES = {needles: "of the context's answers", facts: 'of known facts'};

function drawFacts() {
  const {effects} = data;
  document.getElementById('facts').hidden = !effects.length;
  if (!effects.length) return;
  document.getElementById('facts-box').style.height = `${90 + 30 * effects.length}px`;
  const sets = Object.keys(FACT_NAMES).map((what) => ({label: FACT_NAMES[what], data: effects.map((e) => e[what]),
    errors: effects.map((e) => e[`${what}_error`]), backgroundColor: FACT_COLOURS[what], barPercentage: 0.9, categoryPercentage: 0.8}));
  drawOn('interventions', 'bar', {labels: effects.map((e) => e.name), datasets: sets}, {
    x: axis('linear', 'share of the margin that is taken', {min: -data.cap / 4, max: data.cap}),
    y: {grid: {color: ink('--line')}, ticks: {color: ink('--ink'), autoSkip: false}},
  }, {
    legend: {display: true, position: 'top', labels: {color: ink('--ink'), boxHeight: 8}},
    tooltip: {callbacks: {label: (item) => `${item.dataset.label}: ${item.dataset.data[item.dataIndex].toFixed(2)} \u00b1 ` +
      show(fixed(2), item.dataset.errors[item.dataIndex])}}}, {indexAxis: 'y'}, [whiskers]);
}
