// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files of what is seen: the pictures, their numbers, the table.

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
  fillFiles(PICTURES, titleOf);
  const on = (id, act) => document.getElementById(id).addEventListener('click', act);
  on('save-md', () => save('heed.md', tableMarkdown(), 'text/markdown'));
  on('save-tex', () => save('heed.tex', tableLatex(), 'text/x-tex'));
}
