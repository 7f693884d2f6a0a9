// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The table: sorts, hides rows, marks the row of a point.
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
  add('pareto', '\u2605', `frontier: ${data.definitions.pareto}`, 'mid');
  add('gate', 'gate', data.definitions.gate, 'mid');
  for (const column of COLUMNS) add(column.key, column.title, data.definitions[column.key] || '');
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
  const words = element('span', undefined, 'words');
  words.append(element('strong', row.variant), ' ', element('small', knobText(row)));
  words.title = row.summary;
  label.append(tick, swatch(row.variant), words);
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
    const gate = element('td', n.gate, n.gate === 'ok' ? 'mid' : 'mid failed');
    gate.title = n.reason;
    line.append(nameCell(row, index), element('td', n.pareto ? '\u2605' : '', 'mid'), gate);
    for (const column of COLUMNS) {
      const cell = element('td', show(column.format, valueOf(column, n)));
      const sign = (key, flag, text) => {
        if (column.key !== key || !n[flag]) return;
        cell.append(` ${text}`);
        cell.title = data.definitions[flag];
      };
      sign('spread', 'noisy', '!');
      sign('rel_l2', 'beaten_by_zeros', '#');
      line.append(cell);
    }
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
