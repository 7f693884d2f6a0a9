// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Files of what is seen: a picture as SVG or PNG, numbers as CSV.
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

// One entry a variant, where sets are of single rows. A picture whose sets are not what
// a reader tells apart says its own (options.plugins.legend.entries), or has none (saved).
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
        legend: {display: options.plugins.legend?.saved !== false, position: 'bottom', labels: {usePointStyle: type === 'scatter', boxHeight: 8,
          generateLabels: options.plugins.legend?.entries ?? savedLegend}}}},
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

// Buttons that save each picture; pictures: {id: {name of its files, of(), csv()}}.
function fillFiles(pictures, titleOf) {
  for (const box of document.querySelectorAll('.files')) {
    const {name, of, csv: text} = pictures[box.dataset.of];
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
}
