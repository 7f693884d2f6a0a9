// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a run knows of others: times from other machines, what changed since an
// earlier run, and the rows that were left out.
const machineText = (machine) => `${machine.environment.cpu}, ${machine.run.threads} thread${machine.run.threads === 1 ? '' : 's'}, ` +
  `${machine.run.target}, ${machine.environment.compiler}, ${machine.run.repeats} rounds`;

function tableOf(id, head, lines) {
  const line = (cells, tag) => {
    const made = element('tr');
    made.append(...cells.map((text, i) => element(tag, text, i ? '' : 'name')));
    return made;
  };
  document.getElementById(id).replaceChildren(line(head, 'th'), ...lines.map((cells) => line(cells, 'td')));
}

function listOf(id, texts) {
  document.getElementById(id).replaceChildren(...texts.filter((text) => text).map((text) => element('li', text)));
}

function fillElsewhere() {
  const machines = [data, ...(data.elsewhere || [])];
  document.getElementById('elsewhere').hidden = machines.length < 2;
  if (machines.length < 2) return;
  const cell = (n) => (n && isNumber(n.time)
    ? `${milliseconds(n.time)} (${show(fixed(2), n.speedup)} \u00d7)${n.pareto ? ' \u2605' : ''}` : '\u2013');
  tableOf('elsewhere-table', ['time ms (x exact)', ...machines.map((_, m) => (m ? `machine ${m}` : 'here'))],
    rows.map((row) => [row.name, cell(row), ...machines.slice(1).map((_, m) =>
      cell((row.elsewhere || []).find((times) => times.machine === m + 1)))]));
  const missing = rows.filter((row) => row.here === false).length;
  listOf('elsewhere-list', [...machines.map((machine, m) => `${m ? `machine ${m}` : 'here'}: ${machineText(machine)}`),
    missing ? `${missing} of ${rows.length} rows were not timed here: charts of times leave them out` : '']);
}

function fillAgainst() {
  const {against} = data;
  document.getElementById('against').hidden = !against;
  if (!against) return;
  const at = (entry) => entry.name + (entry.tokens ? ` at ${entry.tokens} tokens` : '');
  const shown = (entry, value) => {
    const format = FORMATS[entry.number.replace(/\[\d+\]$/, '').split('.').pop()];
    return typeof value === 'string' ? value : show(format ?? ((number) => String(number)), value);
  };
  const changed = new Set(against.changes.map(at));
  tableOf('against-table', ['row', 'changed', 'was', 'now'], against.changes.map((entry) =>
    [at(entry), data.headings[entry.number] || entry.number, shown(entry, entry.was), shown(entry, entry.now)]));
  document.getElementById('against-table').hidden = !against.changes.length;
  const reasons = [...new Set(against.untimed.map((entry) => entry.reason))];
  listOf('against-list', [
    `against ${against.file}, begun ${against.began}: ${changed.size} of ${against.compared} rows changed beyond noise`,
    against.no_times && `times are not compared: ${against.no_times}`,
    against.versions && `version ${against.versions}`,
    ...reasons.map((reason) => `times of ${against.untimed.filter((entry) => entry.reason === reason).length} not compared: ${reason}`),
    ...against.only_there.map((name) => `only there: ${name}`), ...against.only_here.map((name) => `only here: ${name}`)]);
}

function fillLeftOut() {
  const names = data.run.left_out || [];
  listOf('left-out', names.length ? [`${names.length} rows were left out, as the time was spent: ${names.join(', ')}`] : []);
}

function fillOtherRuns() {
  fillElsewhere();
  fillAgainst();
  fillLeftOut();
}
