"use strict";
// One sample: its text, and what is explained. Pictures and scores have files of their own.

const BESIDE = "beside"; // all methods side by side
const LONG = 120; // tokens above which the text is set smaller
const palettes = {}; // name -> 256 RGB triples
let line; // the gallery's line of the sample that is shown
let sample;
let spans = []; // words or tokens: {tokens, option}
let current = 0; // index in spans

async function startSample() {
  for (const [name, text] of Object.entries(gallery.colors)) palettes[name] = await unpack(text);
  fill(byId("colors"), Object.keys(palettes).map((name) => [name, name]));
  byId("methods").addEventListener("change", () => { showPictures(); explain(current); });
  byId("grain").addEventListener("change", () => {
    const [token] = spans[current].tokens;
    showText();
    explain(spanOf(token));
  });
  byId("frame").addEventListener("input", () => { showPictures(); paint(); });
  byId("colors").addEventListener("change", () => explain(current));
  byId("opacity").addEventListener("input", setOpacity);
  const text = byId("text");
  // a finger that slides over the text moves from word to word, as the mouse does
  text.addEventListener("pointerdown", (event) => event.target.releasePointerCapture(event.pointerId));
  for (const kind of ["pointerover", "pointerdown", "focusin"]) text.addEventListener(kind, explainTarget);
  document.addEventListener("keydown", pressKey);
}

function showSample(itsLine, data) {
  [line, sample] = [itsLine, data];
  const run = gallery.runs[line.run];
  byId("sample-title").textContent = line.id;
  byId("sample-run").textContent = [run.dataset, run.model].filter(Boolean).join(" · ");
  byId("sample").querySelector("nav").hidden = embedded.size > 0;
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
  byId("methods-note").textContent = run.notes.join(" ");
  byId("methods-note").hidden = !run.notes.length;
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

/** A radio button a method; what was chosen stays chosen, where this sample has maps of it. */
function offerMethods(titles) {
  byId("methods").hidden = titles.length < 2;
  const before = chosenMethod();
  const hasMaps = (value) => value === BESIDE || Boolean(sample.methods[value]?.maps);
  const { main } = gallery.runs[line.run];
  const first = sample.methods[main].maps ? main : sample.methods.findLastIndex((method) => method.maps);
  const choices = [...titles.map((title, number) => [String(number), title]), [BESIDE, "Side by side"]];
  const chosen = before && hasMaps(before) ? before : String(first);
  byId("methods").replaceChildren(byId("methods").firstElementChild, ...choices.map(([value, title]) => {
    const disabled = !hasMaps(value);
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

/** The method whose relevance colours the words: of those that are shown the run's main one, else the last. */
function mainMethod() {
  const shown = shownMethods();
  const { main } = gallery.runs[line.run];
  return sample.methods[shown.includes(main) ? main : shown.at(-1)];
}

/** Whether a method says nothing of all these tokens. */
function isSilent({ unexplained = [] }, tokens) {
  return tokens.every((token) => unexplained.includes(token));
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
    const nodes = units.flatMap((unit, place) => [unit.space && place ? " " : "", ...runNodes(unit.runs)]);
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
  byId("answer").classList.toggle("long", sample.tokens.length > LONG);
  markEvidence();
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
  const method = mainMethod();
  const relevance = method && !isSilent(method, tokens) ? method.relevance : undefined;
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
  showEvidence();
  showCandidates();
  showScores();
  say();
}

/** For those who do not see the colours. */
function say() {
  const related = spans.filter((span) => span.value > 0).sort((one, other) => other.value - one.value)[0];
  const parts = [spanText(spans[current])];
  if (related) parts.push(`most related to ${spanText(related)}, ${decimals(related.value)}`);
  const evidence = evidenceText(spans[current]);
  if (evidence) parts.push(evidence);
  byId("said").textContent = parts.join(": ");
}
