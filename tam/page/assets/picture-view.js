"use strict";
// The pictures of a sample, each with a canvas over it that holds only the map: its opacity is a matter of style.

/** Numbers of the panels that are shown: one frame of a video, all pictures else. */
function shownPanels() {
  return sample.video && sample.panels.length ? [Number(byId("frame").value)] : [...sample.panels.keys()];
}

function showPictures() {
  const methods = shownMethods();
  const titles = gallery.runs[line.run].methods;
  const rows = methods.map((method) => {
    const figures = shownPanels().map((number) => figure(number, method));
    const caption = element("figcaption", {}, element("span", { hidden: methods.length < 2 }, titles[method]), " ");
    caption.append(element("span", { className: "empty" }));
    return element("figure", { className: "method" }, element("div", { className: "panels" }, ...figures), caption);
  });
  byId("pictures").replaceChildren(...rows);
  byId("pictures").classList.toggle("beside", methods.length > 1);
  byId("pictures").classList.toggle("several", shownPanels().length > 1);
  const { frame } = sample.panels[byId("frame").value] ?? { frame: 0 };
  byId("frame-name").textContent = frame;
  byId("frame").setAttribute("aria-valuetext", `frame ${frame}`);
}

function figure(number, method) {
  const { width, height } = sample.panels[number];
  const name = sample.video ? "frame" : sample.panels.length > 1 ? `picture ${number + 1}` : "picture";
  const src = pictureOf(keyOf(line), number);
  const picture = element("img", { src, width, height, alt: `${name} of the sample` });
  const canvas = element("canvas", { width, height });
  canvas.dataset.panel = number;
  canvas.dataset.method = method;
  canvas.setAttribute("role", "img");
  const made = element("div", { className: "panel" }, picture, canvas);
  made.style.setProperty("--aspect", width / height);
  return made;
}

function paint() {
  const { tokens } = spans[current];
  const colors = palettes[byId("colors").value];
  for (const canvas of byId("pictures").querySelectorAll("canvas")) {
    const number = Number(canvas.dataset.panel);
    const method = sample.methods[canvas.dataset.method];
    const { maps } = method;
    const map = largest(tokens, maps, maps.length / sample.tokens.length);
    const silent = isSilent(method, tokens);
    const grids = silent ? [] : sample.grids.filter((grid) => grid.panel === number);
    paintHeat(canvas, sample.panels[number], grids, map, colors);
    canvas.setAttribute("aria-label", `${silent ? "no map" : "map"} of ${spanText(spans[current])}`);
    const empty = silent ? "not explained by this method" : map.some(Boolean) ? "" : "0 everywhere";
    canvas.closest("figure").querySelector(".empty").textContent = empty;
  }
  paintScale(byId("scale").querySelector("canvas"), colors);
}

function setOpacity() {
  const { value } = byId("opacity");
  byId("pictures").style.setProperty("--opacity", value / 100);
  byId("opacity-value").textContent = `${value} %`;
}
