"use strict";
// One sample: pictures under the map of the word that is explained, the text, candidates and scores.

const BESIDE = "beside"; // all methods side by side
const palettes = {}; // name -> 256 RGB triples
let line; // the gallery's line of the sample that is shown
let sample;
let spans = []; // words or tokens: {tokens, option}
let current = 0; // index in spans

async function startSample() {
  for (const [name, text] of Object.entries(gallery.colors)) palettes[name] = await unpack(text);
  byId("methods").addEventListener("change", () => { showPictures(); explain(current); });
  byId("grain").addEventListener("change", () => { const [token] = spans[current].tokens; showText(); explain(spanOf(token)); });
  byId("frame").addEventListener("input", () => { showPictures(); paint(); });
  byId("colors").addEventListener("change", () => explain(current));
  byId("opacity").addEventListener("input", setOpacity);
  const text = byId("text");
  // a finger that slides over the text moves from word to word, as the mouse does
  text.addEventListener("pointerdown", (event) => event.target.releasePointerCapture(event.pointerId));
  for (const kind of ["pointerover", "pointerdown", "focusin"]) text.addEventListener(kind, explainTarget);
  document.addEventListener("keydown", pressKey);
}

async function showSample(wanted) {
  const data = await loadSample(keyOf(wanted));
  [line, sample] = [wanted, data];
  const run = gallery.runs[line.run];
  byId("sample-title").textContent = line.id;
  byId("sample-run").textContent = `${run.dataset} · ${run.model}`;
  byId("sample-status").textContent = line.kind;
  byId("sample-status").className = `badge ${{ ok: "good", failed: "bad" }[line.kind] ?? "warn"}`;
  const problem = line.kind === "failed" ? line.status : sample.problem ?? "";
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
  byId("explorer").hidden = !sample.units.length;
  stepTo("previous", -1);
  stepTo("next", 1);
  if (!sample.units.length) return;
  offerMethods(run.methods);
  byId("frame-field").hidden = !sample.video || sample.panels.length < 2;
  byId("frame").max = Math.max(sample.panels.length - 1, 0);
  byId("frame").value = 0;
  showText();
  showPictures();
  explain(firstSpan());
}

/** Links to the neighbours in the gallery as it is filtered and sorted. */
function stepTo(id, step) {
  const here = listed.findIndex((other) => other === line);
  const there = here < 0 ? undefined : listed[here + step];
  if (there) byId(id).href = `#${keyOf(there)}`;
  else byId(id).removeAttribute("href");
}

/** A radio button a method; what was chosen stays chosen. */
function offerMethods(titles) {
  const before = chosenMethod();
  const last = sample.methods.findLastIndex((method) => method.maps);
  const choices = [...titles.map((title, number) => [String(number), title]), [BESIDE, "Side by side"]];
  const chosen = choices.some(([value]) => value === before) ? before : String(last);
  byId("methods").replaceChildren(byId("methods").firstElementChild, ...choices.map(([value, title]) => {
    const disabled = value !== BESIDE && !sample.methods[value].maps;
    const radio = element("input", { type: "radio", name: "method", value, checked: value === chosen, disabled });
    return element("label", { title: disabled ? sample.methods[value].status : "" }, radio, element("span", {}, title));
  }));
}

function chosenMethod() {
  return document.querySelector("#methods input:checked")?.value;
}

/** Numbers of the methods that are shown. */
function shownMethods() {
  const all = sample.methods.flatMap((method, number) => (method.maps ? [number] : []));
  return chosenMethod() === BESIDE ? all : all.filter((number) => String(number) === chosenMethod());
}

/** The method whose relevance colours the words: the last, and fullest, of those that are shown. */
function mainMethod() {
  return sample.methods[shownMethods().at(-1)];
}

// ---- pictures ----------------------------------------------------------------------------------------------------

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
  const { frames } = sample.panels[byId("frame").value] ?? { frames: [0] };
  const name = frames.length > 1 ? `${frames[0]}–${frames.at(-1)}` : String(frames[0]);
  byId("frame-name").textContent = name;
  byId("frame").setAttribute("aria-valuetext", `frames ${name}`);
}

function figure(number, method) {
  const { width, height } = sample.panels[number];
  const name = sample.video ? "frame" : sample.panels.length > 1 ? `picture ${number + 1}` : "picture";
  const picture = element("img", { src: `page/${keyOf(line)}-${number}.webp`, width, height, alt: `${name} of the sample` });
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
    const { maps } = sample.methods[canvas.dataset.method];
    const map = largest(tokens, maps, maps.length / sample.tokens.length);
    paintHeat(canvas, sample.panels[number], sample.grids.filter((grid) => grid.panel === number), map, colors);
    canvas.setAttribute("aria-label", `map of ${spanText(spans[current])}`);
    canvas.closest("figure").querySelector(".empty").textContent = map.some(Boolean) ? "" : "0 everywhere";
  }
  paintScale(byId("scale").querySelector("canvas"), colors);
}

function setOpacity() {
  const { value } = byId("opacity");
  byId("pictures").style.setProperty("--opacity", value / 100);
  byId("opacity-value").textContent = `${value} %`;
}

// ---- text --------------------------------------------------------------------------------------------------------

function grain() {
  return document.querySelector("#grain input:checked").value;
}

function showText() {
  const members = grain() === "words" ? sample.words : sample.units.map((_, unit) => [unit]);
  const parts = { prompt: [], answer: [] };
  spans = members.map((list, number) => {
    const units = list.map((unit) => sample.units[unit]);
    const nodes = units.flatMap((unit, place) => (unit.space && place ? [" ", ...runNodes(unit.runs)] : runNodes(unit.runs)));
    const option = element("span", { className: "word", tabIndex: -1 }, ...nodes);
    option.setAttribute("role", "option");
    option.dataset.span = number;
    const tokens = units.flatMap((unit) => unit.tokens);
    const part = parts[tokens[0] < sample.prompt ? "prompt" : "answer"];
    if (units[0].space) part.push(" ");
    part.push(option);
    if (units.at(-1).newline) part.push(element("br"));
    return { tokens, option, units };
  });
  byId("prompt").replaceChildren(...parts.prompt);
  byId("answer").replaceChildren(...parts.answer);
}

function spanText(span) {
  return span.units.map((unit, place) => (unit.space && place ? " " : "") + runText(unit.runs)).join("");
}

function spanOf(token) {
  return spans.findIndex((span) => span.tokens.includes(token));
}

/** The first word with a value of Obj-IoU, else the first noun, else the first word of the answer. */
function firstSpan() {
  const nouns = sample.scores.filter((row) => row.metric === "obj_iou" && row.token >= 0);
  const first = nouns.find((row) => row.values.some(Number.isFinite)) ?? nouns[0] ?? { token: 0 };
  return Math.max(spanOf(sample.prompt + first.token), 0);
}

function explainTarget(event) {
  const option = event.target.closest?.("[role=option]");
  if (option && Number(option.dataset.span) !== current) explain(Number(option.dataset.span));
}

function pressKey(event) {
  const outside = byId("sample").hidden || !sample?.units.length || event.target.closest("input, select, summary");
  if (outside || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { location.hash = ""; return; }
  const last = spans.length - 1;
  const aims = { ArrowLeft: current - 1, ArrowRight: current + 1 };
  if (event.target.closest("#text")) Object.assign(aims, { Home: 0, End: last });
  if (!(event.key in aims)) return;
  event.preventDefault();
  explain(Math.min(Math.max(aims[event.key], 0), last));
  spans[current].option.focus();
}

/** Show the map of a word, how much the earlier words contribute to it, its candidates and scores. */
function explain(number) {
  current = number;
  const { tokens, option } = spans[current];
  const { relevance } = mainMethod() ?? {};
  const values = relevance ? largest(tokens, relevance, sample.tokens.length) : new Uint8Array(sample.tokens.length);
  const colors = palettes[byId("colors").value];
  for (const span of spans) {
    const isEarlier = relevance && span.tokens[0] < tokens[0];
    const value = Math.max(...span.tokens.map((token) => values[token]));
    const color = colors.subarray(3 * value, 3 * value + 3);
    span.value = isEarlier ? value / 255 : 0;
    span.option.style.backgroundColor = isEarlier ? `rgb(${color.join(" ")})` : "";
    span.option.style.color = isEarlier ? inkOn(color) : "";
    span.option.title = isEarlier ? `relevance ${decimals(span.value)}` : "";
    span.option.setAttribute("aria-selected", span === spans[current]);
    span.option.tabIndex = span.option === option ? 0 : -1;
  }
  paint();
  showCandidates();
  showScores();
  say();
}

/** For those who do not see the colours. */
function say() {
  const related = spans.filter((span) => span.value > 0).sort((one, other) => other.value - one.value)[0];
  const parts = [spanText(spans[current])];
  if (related) parts.push(`most related to ${spanText(related)}, ${decimals(related.value)}`);
  byId("said").textContent = parts.join(": ");
}

// ---- candidates and scores -------------------------------------------------------------------------------------------

function showCandidates() {
  const { tokens } = spans[current];
  const isPrompt = tokens[0] < sample.prompt;
  byId("candidates-title").textContent = isPrompt ? "What the model expects next" : "What the model considered";
  byId("candidates").replaceChildren(...tokens.map((token) => {
    const rows = sample.candidates[token].map(([piece, share]) => {
      const bar = element("span", { className: "share" });
      bar.style.width = `${100 * share}%`;
      const isChosen = !isPrompt && piece === sample.tokens[token];
      const text = element("span", { className: "piece" }, bar, element("bdi", {}, ...pieceNodes(sample.pieces[piece])));
      return element("li", { className: isChosen ? "chosen" : "" }, text, element("span", { className: "number" }, percent(share)));
    });
    const title = element("p", {}, isPrompt ? "after " : "token ", element("bdi", {}, ...pieceNodes(sample.pieces[sample.tokens[token]])));
    return element("div", { className: "token" }, ...(tokens.length > 1 || isPrompt ? [title] : []), element("ol", {}, ...rows));
  }));
}

function showScores() {
  const answered = spans[current].tokens.map((token) => token - sample.prompt).filter((token) => token >= 0);
  const own = sample.scores.filter((row) => answered.includes(row.token));
  const whole = sample.scores.filter((row) => row.token < 0);
  byId("scores").replaceChildren(
    element("h3", {}, "Scores of ", element("bdi", {}, `“${spanText(spans[current])}”`)),
    own.length ? scoreTable(own) : element("p", { className: "note" }, "This word is not scored: neither a noun nor a function word of the answer."),
    ...(whole.length ? [element("h3", {}, "Scores of the whole answer"), scoreTable(whole)] : []),
  );
}

/** Metrics as rows, methods as columns; what is the same for all methods is said once. */
function scoreTable(rows) {
  const titles = gallery.runs[line.run].methods;
  const names = new Map(gallery.metrics);
  const shown = shownMethods();
  const cell = (value) => (typeof value === "number" ? decimals(value) : value ?? "–");
  const head = element("tr", {}, element("td"), ...titles.map((title, method) =>
    element("th", { scope: "col", className: shown.includes(method) ? "shown" : "" }, title)));
  const isSame = ({ values }) => values.every((value) => value === values[0]);
  const body = rows.map(({ metric, values }) => {
    const name = element("th", { scope: "row" }, names.get(metric) ?? metric);
    if (isSame({ values })) return element("tr", {}, name, element("td", { colSpan: values.length, className: "all" }, cell(values[0])));
    return element("tr", {}, name, ...values.map((value, method) =>
      element("td", { className: shown.includes(method) ? "shown" : "" }, cell(value))));
  });
  const heads = rows.every(isSame) ? [] : [element("thead", {}, head)];
  return element("table", {}, ...heads, element("tbody", {}, ...body));
}
