"use strict";
// The way back: a place of the picture, and which words use it. A place is a cell of a grid; the same on every method's
// picture, so that methods are read with one pointer.

const MOST_WORDS = 3; // that are named
let place = null; // {cell, grid, row, column}: cell counts the vision tokens
let isPlacePinned = false;

function startPlaces() {
  const pictures = byId("pictures");
  pictures.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !isPlacePinned) moveTo(pointedAt(event));
  });
  pictures.addEventListener("pointerleave", () => { if (!isPlacePinned) moveTo(null); });
  pictures.addEventListener("click", (event) => {
    const pointed = pointedAt(event);
    if (!pointed) return;
    const isFreed = isPlacePinned && pointed.cell === place.cell;
    pinPlace(isFreed && event.pointerType === "touch" ? null : pointed, !isFreed);
  });
  pictures.addEventListener("focusout", () => { if (!isPlacePinned) moveTo(null); });
}

function pinPlace(pointed, isPinned) {
  [place, isPlacePinned] = [pointed, isPinned];
  colorWords();
  showPlace();
  writeAddress();
}

function moveTo(pointed) {
  if (pointed?.cell === place?.cell) return;
  place = pointed;
  colorWords();
  showPlace();
}

/** The cell under a pointer; where grids lie over each other, the finest; null outside of them. */
function pointedAt(event) {
  const panel = event.target.closest?.(".panel");
  if (!panel) return null;
  const number = Number(panel.querySelector("canvas").dataset.panel);
  const { left, top, width, height } = panel.querySelector("canvas").getBoundingClientRect();
  const x = ((event.clientX - left) / width) * sample.panels[number].width;
  const y = ((event.clientY - top) / height) * sample.panels[number].height;
  const inside = sample.grids.filter(({ panel: own, box }) =>
    own === number && x >= box[0] && x < box[2] && y >= box[1] && y < box[3]);
  const area = ({ box, rows, columns }) => ((box[2] - box[0]) * (box[3] - box[1])) / (rows * columns);
  const [grid] = inside.sort((one, other) => area(one) - area(other));
  if (!grid) return null;
  const [left_, top_, right, bottom] = grid.box;
  const row = Math.floor(((y - top_) / (bottom - top_)) * grid.rows);
  const column = Math.floor(((x - left_) / (right - left_)) * grid.columns);
  return placeAt(grid, row, column);
}

function placeAt(grid, row, column) {
  return { grid, row, column, cell: grid.start + row * grid.columns + column };
}

/** The place of a vision token, null if there is none. */
function placeOf(cell) {
  const grid = sample.grids.find(({ start, rows, columns }) => cell >= start && cell < start + rows * columns);
  if (!grid) return null;
  return placeAt(grid, Math.floor((cell - grid.start) / grid.columns), (cell - grid.start) % grid.columns);
}

/** Arrow keys in a picture; whether the key meant something. */
function pressInPicture(event) {
  const number = Number(event.target.querySelector("canvas").dataset.panel);
  const grid = place?.grid.panel === number ? place.grid : sample.grids.find(({ panel }) => panel === number);
  if (!grid) return false;
  const { row, column } = place?.grid === grid ? place : { row: Math.floor(grid.rows / 2), column: Math.floor(grid.columns / 2) };
  if (event.key === "Enter" || event.key === " ") {
    pinPlace(placeAt(grid, row, column), !isPlacePinned);
    return true;
  }
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!(event.key in steps)) return false;
  const [down, along] = place?.grid === grid ? steps[event.key] : [0, 0]; // the first key shows where one is
  const inside = (value, most) => Math.min(Math.max(value, 0), most - 1);
  moveTo(placeAt(grid, inside(row + down, grid.rows), inside(column + along, grid.columns)));
  if (isPlacePinned) writeAddress();
  byId("said").textContent = placeText();
  return true;
}

/** The value of a word's map at the place, 0 to 255; 0 where the method is silent. */
function valueHere(method, tokens) {
  if (isSilent(method, tokens)) return 0;
  return tokens.reduce((sum, token) => sum + method.maps[token * sample.vision + place.cell], 0) / tokens.length;
}

/** The same on the scale of the pictures. */
function shareHere(method, tokens) {
  return Math.min((255 * valueHere(method, tokens)) / ceilingOf(mapOf(method, tokens)), 255);
}

/** The words whose maps are highest at the place, in words. */
function usersText() {
  const method = mainMethod();
  const named = spans.filter(isSaid).map((span) => [span, valueHere(method, span.tokens)]);
  const users = named.filter(([, value]) => value >= FAINT).sort(([, one], [, other]) => other - one).slice(0, MOST_WORDS);
  return users.map(([span, value]) => `${spanText(span)} ${decimals(value / 255)}`).join(", ") || "no word";
}

function placeText() {
  const here = decimals(valueHere(mainMethod(), spans[current].tokens) / 255);
  return `Row ${place.row + 1}, column ${place.column + 1}: ${spanText(spans[current])} ${here}. Used most by ${usersText()}.`;
}

/** Where a cell begins along a side, and how much of it lies on the picture, which is `length` long. */
function onPicture(start, step, number, length) {
  const first = Math.min(Math.max(start + number * step, 0), length);
  return [first, Math.max(Math.min(start + (number + 1) * step, length) - first, 0)];
}

/** The cell on every picture of its panel, the shown word's value under each, and the words that use it. */
function showPlace() {
  for (const canvas of byId("pictures").querySelectorAll("canvas")) {
    const frame = canvas.nextElementSibling;
    const panel = Number(canvas.dataset.panel);
    const grid = place && sample.grids.find((one) => one.panel === panel && one.start === place.grid.start);
    frame.hidden = !grid;
    frame.classList.toggle("pinned", isPlacePinned);
    if (!grid) continue;
    const { width, height } = sample.panels[panel];
    const [left, top, right, bottom] = grid.box;
    const [x, across] = onPicture(left, (right - left) / grid.columns, place.column, width);
    const [y, down] = onPicture(top, (bottom - top) / grid.rows, place.row, height);
    frame.style.left = `${(100 * x) / width}%`;
    frame.style.top = `${(100 * y) / height}%`;
    frame.style.width = `${(100 * across) / width}%`;
    frame.style.height = `${(100 * down) / height}%`;
  }
  for (const value of byId("pictures").querySelectorAll(".value")) {
    const canvas = value.closest("figure").querySelector("canvas");
    const [method, candidate] = [sample.methods[canvas.dataset.method], consideredOn(canvas)];
    const { tokens } = spans[current];
    const here = place && (candidate ? candidate.map[place.cell] : valueHere(method, tokens));
    value.textContent = place && (candidate || !isSilent(method, tokens)) ? decimals(here / 255) : "";
  }
  byId("place").textContent = place ? placeText() : "";
  byId("place-hint").hidden = Boolean(place);
  byId("place").hidden = !place;
}
