// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files of what is seen: the picture, its numbers, the table.
function save(name, content, type) {
  const link = element('a');
  link.download = name;
  link.href = type ? URL.createObjectURL(new Blob([content], {type})) : content;
  link.click();
  if (type) setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A picture as it is saved: of one size, with the title and the legend that the
// page has around it. Chart.js draws it anew on the context.
const SAVED = {width: 960, height: 540};

// One entry a variant, where sets are of single rows.
function savedLegend(of) {
  const seen = new Set();
  return Chart.defaults.plugins.legend.labels.generateLabels(of).map((item) => {
    const set = of.data.datasets[item.datasetIndex];
    const text = set.variant || item.text;
    const first = !set.guide && set.data.length > 0 && !seen.has(text);
    seen.add(text);
    return first ? {...item, text, fontColor: ink('--ink')} : null;
  }).filter((item) => item);
}

function drawSaved(of, title, context, ratio) {
  const {type, data: content, options} = of.config._config;
  const font = {size: 16, weight: '600'};
  return new Chart(context, {
    type, plugins: of.config._config.plugins, platform: Chart.platforms.BasicPlatform,
    data: {...content, datasets: content.datasets.map((set) => ({...set}))},
    options: {...options, responsive: false, devicePixelRatio: ratio, events: [], layout: {padding: 16},
      plugins: {...options.plugins, title: {display: true, text: title, color: ink('--ink'), font},
        legend: {display: of !== drawn['head-chart'], position: 'bottom', labels: {usePointStyle: type === 'scatter', boxHeight: 8,
          generateLabels: savedLegend}}}},
  });
}

// On the page's paper rather than on nothing.
function savePng(of, title, name) {
  const canvas = element('canvas');
  Object.assign(canvas, SAVED);
  const drawing = drawSaved(of, title, canvas.getContext('2d'), 2);
  const copy = element('canvas');
  copy.width = canvas.width;
  copy.height = canvas.height;
  const context = copy.getContext('2d');
  context.fillStyle = ink('--paper');
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(canvas, 0, 0);
  drawing.destroy();  // which blanks its canvas
  save(name, copy.toDataURL('image/png'));
}

function pictureSvg(of, title) {
  const context = new SvgContext(SAVED.width, SAVED.height);
  drawSaved(of, title, context, 1).destroy();
  return context.text(title);
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
const csv = (lines) => lines.map((line) => line.map(quoted).join(',')).join('\n') + '\n';

// The numbers behind the chart, as they are: not as they are drawn at an edge.
function chartCsv() {
  const {shown} = points();
  return csv([['name', axes.x, axes.y, 'mad', 'pareto'], ...shown.map((p) =>
    [p.row.name, p.n[axes.x], p.n[axes.y], p.n.mad ?? '', p.n.pareto ? 1 : 0])]);
}

function lengthCsv() {
  return csv([['name', 'tokens', 'time', 'mad'], ...data.sweep.rows.flatMap((row) =>
    data.sweep.tokens.map((n, at) => [row.name, n, row.time[at] ?? '', row.mad[at] ?? '']))]);
}

// The table as it stands: shown rows in their order, on the chosen layer.
function tableCells() {
  const order = rows.map((row, index) => index).filter((i) => !hidden.has(i)).sort(compareRows);
  return [['variant', ...COLUMNS.map((column) => column.title), 'frontier'], ...order.map((i) => {
    const n = numbers(rows[i]);
    return [rows[i].name, ...COLUMNS.map((column) => show(column.format, valueOf(column, n))), n.pareto ? '*' : ''];
  })];
}

function tableMarkdown() {
  const [head, ...lines] = tableCells().map((line) => line.map((cell) => cell.replaceAll('|', '\\|')));
  const row = (line) => `| ${line.join(' | ')} |\n`;
  return row(head) + row(head.map((_, i) => (i ? '---:' : '---'))) + lines.map(row).join('');
}

function tableLatex() {
  const escape = (text) => text.replace(/[#$%&_{}]/g, '\\$&').replaceAll('\u2013', '--');
  const [head, ...lines] = tableCells().map((line) => line.map(escape).join(' & ') + ' \\\\\n');
  return `\\begin{tabular}{l${'r'.repeat(COLUMNS.length)}c}\n\\hline\n${head}\\hline\n${lines.join('')}\\hline\n\\end{tabular}\n`;
}

const PICTURES = {
  chart: {name: 'heed', of: () => chart, csv: chartCsv},
  'length-chart': {name: 'heed-lengths', of: () => drawn['length-chart'], csv: lengthCsv},
  'mass-chart': {name: 'heed-mass', of: () => drawn['mass-chart'], csv: massCsv},
  'row-error-chart': {name: 'heed-row-errors', of: () => drawn['row-error-chart'], csv: rowErrorCsv},
  'phase-chart': {name: 'heed-phases', of: () => drawn['phase-chart'], csv: phaseCsv},
  'coverage-chart': {name: 'heed-coverage', of: () => drawn['coverage-chart'], csv: coverageCsv},
  'head-chart': {name: 'heed-heads', of: () => drawn['head-chart'], csv: headCsv},
};

// The heading of a picture, with what is chosen in it.
function titleOf(box) {
  if (box.dataset.of === 'chart') return `${Y_AXES[axes.y][0]} against ${X_AXES[axes.x][0]}`;
  if (box.dataset.of === 'head-chart') return headTitle();
  return box.closest('section').querySelector('h2').textContent;
}

function fillExports() {
  const on = (id, act) => document.getElementById(id).addEventListener('click', act);
  for (const box of document.querySelectorAll('.files')) {
    const {name, of, csv: text} = PICTURES[box.dataset.of];
    const add = (kind, act) => {
      const button = element('button', kind);
      button.type = 'button';
      button.addEventListener('click', act);
      box.append(button, ' ');
    };
    add('SVG', () => save(`${name}.svg`, pictureSvg(of(), titleOf(box)), 'image/svg+xml'));
    add('PNG', () => savePng(of(), titleOf(box), `${name}.png`));
    add('CSV', () => save(`${name}.csv`, text(), 'text/csv'));
  }
  on('save-md', () => save('heed.md', tableMarkdown(), 'text/markdown'));
  on('save-tex', () => save('heed.tex', tableLatex(), 'text/x-tex'));
}
