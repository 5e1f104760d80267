"use strict";
// Elements and text. Everything that a model wrote becomes a text node, never HTML.

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

/** A run is text, or [text] for a boxed label: bytes, control characters, the end of the answer. */
function runNodes(runs) {
  return runs.map((run) => (typeof run === "string" ? run : element("span", { className: "label" }, run[0])));
}

/** A vocabulary entry; its leading space is shown, because " dog" and "dog" are different entries. */
function pieceNodes(piece) {
  const space = piece.space ? [element("span", { className: "space", title: "a space" }, "␣")] : [];
  return [...space, ...runNodes(piece.runs)];
}

function runText(runs) {
  return runs.map((run) => (typeof run === "string" ? run : `[${run[0]}]`)).join("");
}

function percent(share) {
  return share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`;
}

function decimals(value) {
  return value.toFixed(2);
}

/** Black or white, whichever is read better on a colour (relative luminance of WCAG 2). */
function inkOn([red, green, blue]) {
  const [r, g, b] = [red, green, blue].map((c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}
