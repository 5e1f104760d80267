"use strict";
// The pictures of a sample, each with a canvas over it that holds only the map: its opacity is a matter of style.

const FAINT = 0.1 * 255; // a map that nowhere rises above this is nearly empty, and stays so on a scale of its own

/** Numbers of the panels that are shown: one frame of a video, all pictures else. */
function shownPanels() {
  return sample.video && sample.panels.length ? [Number(byId("frame").value)] : [...sample.panels.keys()];
}

function showPictures() {
  const methods = shownMethods();
  const titles = gallery.runs[line.run].methods;
  const rows = methods.map((method, row) => {
    const figures = shownPanels().map((number) => figure(number, method, row));
    const caption = element("figcaption", {}, element("span", { hidden: methods.length < 2 }, titles[method]), " ");
    caption.append(element("span", { className: "empty" }), element("b", { className: "value" }));
    return element("figure", { className: "method" }, element("div", { className: "panels" }, ...figures), caption);
  });
  byId("pictures").replaceChildren(...rows);
  byId("pictures").classList.toggle("beside", methods.length > 1);
  byId("pictures").classList.toggle("many", methods.length > 2);
  byId("pictures").classList.toggle("several", shownPanels().length > 1);
  const { frame } = sample.panels[byId("frame").value] ?? { frame: 0 };
  byId("frame-name").textContent = frame;
  byId("frame").setAttribute("aria-valuetext", `frame ${frame}`);
}

/** A picture under its map; in the first row the keyboard goes from place to place. */
function figure(number, method, row) {
  const { width, height } = sample.panels[number];
  const name = sample.video ? "frame" : sample.panels.length > 1 ? `picture ${number + 1}` : "picture";
  const picture = element("img", { src: sample.pictures[number], width, height, alt: `${name} of the sample`, draggable: false });
  const canvas = element("canvas", { width, height });
  canvas.dataset.panel = number;
  canvas.dataset.method = method;
  canvas.setAttribute("role", "img");
  const made = element("div", { className: "panel" }, picture, canvas, element("span", { className: "cell", hidden: true }));
  if (row === 0) {
    made.tabIndex = 0;
    made.setAttribute("role", "application");
    made.setAttribute("aria-label", `Places of the ${name}: arrow keys move, Enter pins; the words that use a place are said`);
  }
  made.style.setProperty("--aspect", width / height);
  return made;
}

function paint() {
  const { tokens } = spans[current];
  const colors = palettes[byId("colors").value];
  const ceilings = new Set();
  for (const canvas of byId("pictures").querySelectorAll("canvas")) {
    const number = Number(canvas.dataset.panel);
    const method = sample.methods[canvas.dataset.method];
    const candidate = consideredOn(canvas);
    const map = candidate?.map ?? mapOf(method, tokens);
    const silent = !candidate && isSilent(method, tokens);
    const grids = silent ? [] : sample.grids.filter((grid) => grid.panel === number);
    const ceiling = ceilingOf(map);
    if (!silent) ceilings.add(ceiling);
    paintHeat(canvas, sample.panels[number], grids, map, ceiling, colors);
    const text = candidate ? consideredText(candidate) : spanText(spans[current]);
    canvas.setAttribute("aria-label", `${silent ? "no map" : "map"} of ${text}`);
    const rest = silent ? "not explained by this method" : restText(map);
    const caption = canvas.closest("figure").querySelector("figcaption");
    caption.classList.toggle("full", !rest && !candidate);
    caption.querySelector(".empty").textContent = candidate ? [text, rest].filter(Boolean).join(": ") : rest;
  }
  paintScale(byId("scale").querySelector("canvas"), colors);
  byId("scale-end").textContent = ceilings.size > 1 ? "highest of each map" : decimals([...ceilings, 255][0] / 255).replace("1.00", "1");
  showPlace();
}

/** What is said of a map with next to nothing in it. */
function restText(map) {
  const highest = map.reduce((one, other) => Math.max(one, other), 0);
  if (highest >= FAINT) return "";
  return highest ? `nearly empty: ${decimals(highest / 255)} at most` : "0 everywhere";
}

function setOpacity() {
  const { value } = byId("opacity");
  byId("pictures").style.setProperty("--opacity", value / 100);
  byId("opacity-value").textContent = `${value} %`;
}
