// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What every page of heed takes: how variants look, colours, formats, elements.

// A variant looks the same in every report: its family gives a range of hues,
// its name the place in it, the lightness and the mark. exact is the ink's.
const MARKS = [['circle', '\u25cf'], ['triangle', '\u25b2'], ['rectRot', '\u25c6'], ['rect', '\u25a0']];
const HUES = {'exact on selection': [175, 340], 'own reference': [0, 75], exact: [95, 155]};

// FNV-1a, 32 bits.
function hash(text) {
  let value = 0x811c9dc5;
  for (const letter of text) value = Math.imul(value ^ letter.codePointAt(0), 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}

// Hue in degrees, saturation and lightness in shares, as #rrggbb.
function hexColour(hue, saturation, lightness) {
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    const value = lightness - saturation * Math.min(lightness, 1 - lightness) *
      Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, '0');
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

function styleOf(name, semantics) {
  if (name === 'exact') return {colour: '#7d8791', mark: 'rect', glyph: '\u25a0'};
  const bits = hash(name), [low, high] = HUES[semantics];
  const [mark, glyph] = MARKS[(bits >>> 16) % MARKS.length];
  return {colour: hexColour(low + ((bits >>> 3) % 256) / 256 * (high - low), 0.75,
    0.4 + 0.05 * ((bits >>> 11) % 4)), mark, glyph};
}

const isNumber = (value) => typeof value === 'number' && isFinite(value);

// Colours of the page, which change with its theme.
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const fixed = (digits, factor = 1) => (value) => (value * factor).toFixed(digits);
// 0.28, 1.5e-5: a number below a thousandth is read by its power.
const short = (value) => (value === 0 ? '0'
  : value >= 1e-3 && value < 1e4 ? value.toPrecision(2) : value.toExponential(1));
const milliseconds = (seconds) => {
  const ms = seconds * 1e3;
  return ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toPrecision(3);
};
const show = (format, value) => (isNumber(value) ? format(value) : '\u2013');
