// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Layers by heads: how much of each head a row lost. A bar a layer, which its
// heads share out, coloured by what is lost.
const HEAD_NUMBERS = {rel_l2: ['error', short], mass_mean: ['mass', fixed(3)], density: ['density', fixed(3)]};
const heads = {row: -1, number: 'rel_l2'};

// From nothing at nothing lost to a deep red at all: of a colour of the page, so
// that the paper shows through.
const lostShare = (value) => Math.min(1, Math.max(0, heads.number === 'rel_l2' ? value : 1 - value));
const headColour = (value) => (isNumber(value)
  ? ink('--bad') + Math.round(255 * lostShare(value)).toString(16).padStart(2, '0') : 'transparent');

const headValue = (part, l, head) => part.heads[heads.number][head];

// The number of each head in its cell, where it has room.
const cellTexts = {
  id: 'cellTexts',
  afterDatasetsDraw(of) {
    const {ctx} = of, [, format] = HEAD_NUMBERS[heads.number];
    ctx.save();
    ctx.font = `11px ${Chart.defaults.font.family}`;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    of.data.datasets.forEach((set, index) => of.getDatasetMeta(index).data.forEach((bar, l) => {
      const {x, y, base, height} = bar.getProps(['x', 'y', 'base', 'height'], true);
      const text = isNumber(set.values[l]) ? format(set.values[l]) : '';
      if (!text || ctx.measureText(text).width + 4 > x - base || height < 13) return;
      ctx.fillStyle = ink(lostShare(set.values[l]) > 0.6 ? '--paper' : '--ink');
      ctx.fillText(text, (x + base) / 2, y);
    }));
    ctx.restore();
  },
};

function headSets(row) {
  const count = Math.max(...layers.map((l) => l.heads.length));
  return Array.from({length: count}, (_, head) => {
    const values = row.layers.map((part, l) => headValue(part, l, head));
    return {
      label: String(head), values, data: layers.map((l) => (head < l.heads.length ? 1 : 0)),
      backgroundColor: values.map(headColour), borderColor: ink('--line'), borderWidth: 1, borderSkipped: false,
      barPercentage: 1, categoryPercentage: 0.94};
  });
}

function headGrid() {
  const row = rows[heads.row], [title, format] = HEAD_NUMBERS[heads.number];
  const widest = layers.reduce((a, b) => (b.heads.length > a.heads.length ? b : a));
  document.getElementById('head-box').style.height = `${70 + 26 * layers.length}px`;
  drawOn('head-chart', 'bar', {labels: layers.map((l) => l.name), datasets: headSets(row)}, {
    x: {stacked: true, min: 0, max: widest.heads.length, title: {display: true, text: 'head', color: ink('--ink'), font: {size: 13}},
      grid: {display: false}, ticks: {color: ink('--faint'), maxRotation: 0, callback: (value) => widest.heads[Math.floor(value)] ?? ''},
      afterBuildTicks(axis) { axis.ticks = widest.heads.map((_, head) => ({value: head + 0.5})); }},
    y: {stacked: true, grid: {display: false}, ticks: {color: ink('--ink'), autoSkip: false}},
  }, {
    legend: {display: false, saved: false}, tooltip: {displayColors: false, callbacks: {
      title: (items) => items.map((item) => layers[item.dataIndex].name),
      label: (item) => `head ${layers[item.dataIndex].heads[item.datasetIndex]}: ${title} ${show(format, item.dataset.values[item.dataIndex])}`}},
  }, {indexAxis: 'y'}, [cellTexts]);
}

const headTitle = () => `${HEAD_NUMBERS[heads.number][0]} of each head: ${rows[heads.row].name}`;

const headCsv = () => csv([['name', 'layer', 'head', ...Object.keys(HEAD_NUMBERS)], ...rows[heads.row].layers.flatMap((part, l) =>
  layers[l].heads.map((number, head) => [rows[heads.row].name, layers[l].name, number,
    ...Object.keys(HEAD_NUMBERS).map((key) => part.heads[key][head] ?? '')]))]);

const hasHeads = () => heads.row >= 0;

function fillHeadChoices() {
  const able = rows.map((row, i) => i).filter((i) => rows[i].layers.some((part) => part.heads.rel_l2.length));
  document.getElementById('heads').hidden = !able.length;
  if (!able.length) return;
  // A row that selects, where there is one: others lose as much everywhere.
  heads.row = able.find((i) => rows[i].semantics === 'exact on selection') ?? able[0];
  choose('head-row', able.map((i) => [i, rows[i].name]), heads.row, (value) => { heads.row = Number(value); headGrid(); });
  choose('head-number', Object.entries(HEAD_NUMBERS).map(([key, [title]]) => [key, title]), heads.number,
    (value) => { heads.number = value; headGrid(); });
}
