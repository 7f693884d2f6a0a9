// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Pictures: made once by Chart.js, then brought up to date.

const drawn = {};  // by the id of their canvas

function drawOn(id, type, content, scales, plugins, more = {}, hooks = [pointLabels]) {
  const options = {animation: false, responsive: true, maintainAspectRatio: false, scales,
    plugins: {legend: {display: false}, ...plugins}, ...more};
  if (!drawn[id]) {
    drawn[id] = new Chart(document.getElementById(id), {type, data: content, options, plugins: hooks});
    return;
  }
  drawn[id].data = content;
  drawn[id].options = options;
  drawn[id].update();
}

// A tooltip of short lines under the name of the row.
const rowTooltip = (lines) => ({
  filter: (item) => !item.dataset.guide, displayColors: false,
  callbacks: {title: (items) => (items.length ? items[0].dataset.label : ''), label: (item) => lines(item.raw)}});
