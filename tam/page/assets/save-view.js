"use strict";
// This view as a file: pictures under their maps, the sentence in its colours, the scale. An SVG with real text and the
// photo in it; a PNG is that SVG, drawn. Words stand where the page has them.

const SVG = "http://www.w3.org/2000/svg";
const [GAP, SHARP] = [16, 3]; // pixels; of a PNG for each of the page
const INK = "#1b1d21";

function startSaving() {
  byId("save-svg").addEventListener("click", () => save("svg", new Blob([viewAsSvg().text], { type: "image/svg+xml" })));
  byId("save-png").addEventListener("click", async () => save("png", await viewAsPng()));
}

function save(ending, blob) {
  const href = URL.createObjectURL(blob);
  const word = spanText(spans[current]).replace(/[^\p{L}\p{N}]+/gu, "-");
  element("a", { href, download: `${[line.id, word].map((part) => part.replace(/[^\p{L}\p{N}.-]+/gu, "-")).join("-")}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function viewAsSvg() {
  const [pictures, prompt, answer] = ["pictures", "prompt", "answer"].map((id) => byId(id).getBoundingClientRect());
  const width = Math.ceil(Math.max(pictures.width, answer.width)) + 2 * GAP;
  const drawn = svg("g", { transform: `translate(${GAP - pictures.left} ${GAP - pictures.top})` },
    ...[...byId("pictures").querySelectorAll(".panel")].flatMap(panelAsSvg),
    ...[...byId("pictures").querySelectorAll("figcaption")].flatMap((caption) => textAsSvg(caption, INK)));
  const below = GAP + pictures.height + 8;
  const scale = scaleAsSvg(below, Math.min(pictures.width, 320));
  const start = below + 2 * GAP;
  const words = svg("g", { transform: `translate(${GAP - answer.left} ${start - prompt.top})` },
    ...[...byId("text").querySelectorAll(".word")].flatMap(wordAsSvg));
  const end = start + answer.bottom - prompt.top + GAP;
  const height = Math.ceil(end + GAP);
  const root = svg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` },
    svg("title", {}, `${line.id}: ${spanText(spans[current])}`),
    svg("rect", { width, height, fill: "#fff" }), drawn, scale, words, label(GAP, end, aboutView(), 11));
  return { text: new XMLSerializer().serializeToString(root), width, height };
}

function placed({ left, top, width, height }) {
  return { x: left, y: top, width, height };
}

function panelAsSvg(panel) {
  const [picture, canvas, cell] = panel.children;
  const image = { preserveAspectRatio: "none", ...placed(picture.getBoundingClientRect()) };
  const opacity = getComputedStyle(canvas).opacity;
  const shapes = [svg("image", { ...image, href: picture.src }), svg("image", { ...image, href: canvas.toDataURL(), opacity })];
  if (!cell.hidden) shapes.push(svg("rect", { ...placed(cell.getBoundingClientRect()), fill: "none", stroke: "#fff", "stroke-width": 2 }));
  return shapes;
}

function wordAsSvg(word) {
  const { backgroundColor, color } = word.style;
  const isShown = word.getAttribute("aria-selected") === "true";
  const fill = backgroundColor || (isShown ? INK : "none");
  const stroke = isShown ? INK : "none";
  const boxes = [...word.getClientRects()].map((box) => svg("rect", { ...placed(box), rx: 4, fill, stroke, "stroke-width": 2 }));
  return [...boxes, ...textAsSvg(word, color || (isShown ? "#fff" : INK))];
}

/** The text of an element, a piece for each line that it stands on, and for each size of its letters. */
function textAsSvg(element, fill) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const pieces = [];
  while (walker.nextNode()) addPieces(pieces, walker.currentNode);
  return pieces.map(({ text, box, left, style: { fontSize, fontFamily, fontWeight } }) => svg("text", {
    x: left, y: (box.top + box.bottom) / 2, fill, "font-size": fontSize, "font-family": fontFamily,
    "font-weight": fontWeight, "dominant-baseline": "central",
  }, text));
}

function addPieces(pieces, node) {
  const range = document.createRange();
  const style = getComputedStyle(node.parentElement);
  let start = 0;
  for (const { segment } of new Intl.Segmenter().segment(node.data)) {
    range.setStart(node, start);
    range.setEnd(node, (start += segment.length));
    const [box] = range.getClientRects();
    const last = pieces.at(-1);
    if (!box) continue;
    if (last?.style.font === style.font && Math.abs(last.box.top - box.top) < 1) {
      last.text += segment;
      last.left = Math.min(last.left, box.left);
    } else pieces.push({ text: segment, box, left: box.left, style });
  }
}

function label(x, y, text, size) {
  return svg("text", { x, y, fill: INK, "font-size": size, "dominant-baseline": "central", "font-family": "sans-serif" }, text);
}

function scaleAsSvg(top, width) {
  const colors = byId("scale").querySelector("canvas").toDataURL();
  return svg("g", {}, label(GAP, top + 8, "0", 13),
    svg("image", { href: colors, x: GAP + 16, y: top + 4, width, height: 8, preserveAspectRatio: "none" }),
    label(GAP + width + 24, top + 8, byId("scale-end").textContent, 13));
}

/** What is seen, in a line: word, methods, checkpoint, layer. */
function aboutView() {
  const { methods, facts } = gallery.runs[line.run];
  const said = new Map(facts);
  const shown = shownMethods().map((number) => methods[number]).join(", ");
  return `“${spanText(spans[current])}” by ${shown} · ${said.get("Checkpoint") ?? ""}, layer ${said.get("Layer")} · ${line.id}`;
}

async function viewAsPng() {
  const { text, width, height } = viewAsSvg();
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = element("canvas", { width: SHARP * width, height: SHARP * height });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
