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

// A picture on the page's paper rather than on nothing.
function savePicture(of, name) {
  const copy = element('canvas');
  copy.width = of.canvas.width;
  copy.height = of.canvas.height;
  const context = copy.getContext('2d');
  context.fillStyle = ink('--paper');
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(of.canvas, 0, 0);
  save(name, copy.toDataURL('image/png'));
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

function fillExports() {
  const on = (id, act) => document.getElementById(id).addEventListener('click', act);
  on('save-png', () => savePicture(chart, 'heed.png'));
  on('save-csv', () => save('heed.csv', chartCsv(), 'text/csv'));
  on('save-lengths-png', () => savePicture(lengthChart, 'heed-lengths.png'));
  on('save-lengths-csv', () => save('heed-lengths.csv', lengthCsv(), 'text/csv'));
  on('save-md', () => save('heed.md', tableMarkdown(), 'text/markdown'));
  on('save-tex', () => save('heed.tex', tableLatex(), 'text/x-tex'));
}
