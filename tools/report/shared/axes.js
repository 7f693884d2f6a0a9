// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Logarithmic axes with labels that a reader knows.
function limits(values, room) {
  const low = Math.min(...values), high = Math.max(...values);
  return [low / room, high * room];
}

// 1, 2, 5, 10, 20, ...; all that Chart.js places, where it zoomed in so far that
// few of those would be left.
function amountLabel(value, {min, max}) {
  const leading = value / 10 ** Math.floor(Math.log10(value) + 1e-9);
  const round = [1, 2, 3, 5, 7].some((digit) => Math.abs(leading - digit) < 1e-6);
  const tidy = String(Number(value.toPrecision(2)));
  return round || (max / min < 3 && Math.abs(Number(tidy) / value - 1) < 1e-6) ? tidy : null;
}

// 1, 0.1, 0.01, then powers of ten; as amounts where few of those are in sight.
function errorLabel(value, scale) {
  if (scale.max / scale.min < 300) return amountLabel(value, scale);
  const power = Math.round(Math.log10(value));
  if (Math.abs(Math.log10(value) - power) > 1e-9) return null;
  if (power >= -2 && power <= 3) return String(Number(value.toPrecision(1)));
  return '10' + String(power).replace('-', '\u207b')
    .replace(/[0-9]/g, (digit) => '\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079'[digit]);
}

// A logarithmic axis in the page's colours.
const logAxis = (text, label) => ({
  type: 'logarithmic',
  title: {display: true, text, color: ink('--ink'), font: {size: 13}},
  grid: {color: ink('--line'), borderColor: ink('--faint')},
  ticks: {maxRotation: 0, autoSkipPadding: 16, color: ink('--faint'),
    callback(value) { return label(value, this); }},
});
