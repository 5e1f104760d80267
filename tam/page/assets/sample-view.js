"use strict";
// One sample: its text, and what is explained. Pictures, places, methods and scores have files of their own.

const LONG = 120; // tokens above which the text is set smaller
const palettes = {}; // name -> 256 RGB triples
const STATUS = { ok: "answered", truncated: "answer cut off", failed: "not answered" };
const STATUS_MEANS = "Whether there is an answer; not whether it is right.";
const RELEVANT = "Colour of an earlier word: how much it speaks for the one that is explained, 0 to 1.";
const USED = "Colour of a word: the value of its map at the place in the picture.";
let line; // the gallery's line of the sample that is shown
let sample;
let spans = []; // words or tokens: {tokens, option}
let current = 0; // index in spans
let pinned = -1; // index of the word that stays shown while the mouse moves over others

async function startSample() {
  for (const [name, text] of Object.entries(gallery.colors)) palettes[name] = await unpack(text);
  fill(byId("colors"), Object.keys(palettes).map((name) => [name, name]));
  startMethods(() => { showPictures(); explain(current); writeAddress(); });
  startPlaces();
  byId("grain").addEventListener("change", () => {
    const [shown, kept] = [current, pinned].map((number) => spans[number]?.tokens[0]);
    showText();
    pinned = spanOf(kept);
    explain(spanOf(shown));
    writeAddress();
  });
  byId("frame").addEventListener("input", () => { showPictures(); paint(); writeAddress(); });
  byId("colors").addEventListener("change", () => explain(current));
  byId("scale-of").addEventListener("change", () => { explain(current); writeAddress(); });
  byId("opacity").addEventListener("input", setOpacity);
  const text = byId("text");
  // a finger that slides over the text moves from word to word, as the mouse does
  text.addEventListener("pointerdown", (event) => event.target.releasePointerCapture(event.pointerId));
  for (const kind of ["pointerover", "pointerdown", "focusin"]) text.addEventListener(kind, explainTarget);
  text.addEventListener("click", pinTarget);
  document.addEventListener("keydown", pressKey);
}

function showSample(itsLine, data, view) {
  [line, sample] = [itsLine, data];
  const run = gallery.runs[line.run];
  byId("sample-title").textContent = line.id;
  byId("sample-run").textContent = [run.dataset, run.model].filter(Boolean).join(" · ");
  byId("sample").querySelector("nav").hidden = embedded.size > 0;
  showStatus(byId("sample-status"), line);
  const problem = line.kind === "failed" ? line.status : sample.problem ?? "";
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
  byId("sample-note").textContent = sample.note ?? "";
  byId("sample-note").hidden = !sample.note;
  byId("explorer").hidden = !sample.units.length;
  stepTo("previous", -1);
  stepTo("next", 1);
  if (!sample.units.length) return;
  chosen.method = view.get("method") ?? chosen.method;
  chosen.beside = view.get("beside") ?? chosen.beside;
  offerMethods();
  byId("methods-note").textContent = run.notes.join(" ");
  byId("methods-note").hidden = !run.notes.length;
  byId("frame-field").hidden = !sample.video || sample.panels.length < 2;
  byId("frame").max = Math.max(sample.panels.length - 1, 0);
  byId("frame").value = Number(view.get("frame") ?? 0);
  if (view.has("scale")) byId("scale-of").value = "word";
  place = placeOf(Number(view.get("place") ?? -1));
  isPlacePinned = Boolean(place);
  const wanted = view.get("words")?.split("-").map(Number);
  showText(wanted);
  showPictures();
  pinned = wanted ? spanOf(wanted[0]) : -1;
  explain(pinned < 0 ? strongestSpan() : pinned);
  writeAddress();
}

/** What became of the question, quietly: it says nothing of the answer's truth. */
function showStatus(badge, { kind, status }) {
  badge.textContent = STATUS[kind];
  badge.className = `status ${{ ok: "", failed: "bad" }[kind] ?? "warn"}`;
  badge.title = kind === "failed" ? status : STATUS_MEANS;
}

/** Links to the neighbours in the gallery as it is filtered and sorted. */
function stepTo(id, step) {
  const here = listed.findIndex((other) => other === line);
  const there = here < 0 ? undefined : listed[here + step];
  if (there) byId(id).href = `#${keyOf(there)}`;
  else byId(id).removeAttribute("href");
}

// ---- text --------------------------------------------------------------------------------------------------------

function grain() {
  return document.querySelector("#grain input:checked").value;
}

/** The text by words or tokens; by tokens, too, where these are wanted and are no word. */
function showText(wanted) {
  const tokensOf = (list) => list.flatMap((unit) => sample.units[unit].tokens);
  if (wanted && !sample.words.some((list) => tokensOf(list).join() === wanted.join())) {
    byId("grain").querySelector("[value=units]").checked = true;
  }
  const members = grain() === "words" ? sample.words : sample.units.map((_, unit) => [unit]);
  const parts = { prompt: [], answer: [] };
  spans = members.map((list, number) => {
    const units = list.map((unit) => sample.units[unit]);
    const nodes = units.flatMap((unit, place) => [unit.space && place ? " " : "", ...runNodes(unit.runs)]);
    const option = element("span", { className: "word", tabIndex: -1 }, ...nodes);
    option.setAttribute("role", "option");
    option.dataset.span = number;
    const tokens = tokensOf(list);
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

/** Whether a span is part of the answer and says something: no punctuation, no end. */
function isSaid({ tokens, units }) {
  const text = units.flatMap((unit) => unit.runs).filter((run) => typeof run === "string").join("");
  return tokens[0] >= sample.prompt && /[^\p{P}\s↵⇥␣␀]/u.test(text);
}

/** The word of the answer with the highest peak, else the answer's first word. */
function strongestSpan() {
  const method = mainMethod();
  const peak = (span) => (isSilent(method, span.tokens) ? 0 : evidenceOf(span)?.peak ?? 0);
  const peaks = spans.map((span) => (isSaid(span) ? peak(span) : -1));
  const highest = peaks.indexOf(Math.max(...peaks));
  return peaks[highest] >= 0 ? highest : Math.max(spanOf(sample.prompt), 0);
}

function explainTarget(event) {
  const option = event.target.closest?.("[role=option]");
  if (event.type === "pointerover" && event.pointerType === "mouse" && pinned >= 0) return;
  if (option && Number(option.dataset.span) !== current) explain(Number(option.dataset.span));
}

/** A click pins a word, another one on the same word frees it. */
function pinTarget(event) {
  const option = event.target.closest?.("[role=option]");
  if (!option) return;
  const number = Number(option.dataset.span);
  pin(number === pinned ? -1 : number);
}

function pin(number) {
  pinned = number;
  explain(number < 0 ? current : number);
  writeAddress();
}

/** Esc frees the candidate, then the place, then the word, then leaves for the gallery. */
function leave() {
  if (other) showConsidered(null);
  else if (isPlacePinned) pinPlace(null, false);
  else if (pinned >= 0) pin(-1);
  else location.hash = "";
}

function pressKey(event) {
  const outside = byId("sample").hidden || !sample?.units.length || event.target.closest("input, select, summary");
  if (outside || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { leave(); return; }
  if (event.target.closest("button")) return;
  if (event.target.closest(".panel")) {
    if (pressInPicture(event)) event.preventDefault();
    return;
  }
  const isInText = Boolean(event.target.closest("#text"));
  if (isInText && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    pin(pinned === current ? -1 : current);
    return;
  }
  const last = spans.length - 1;
  const aims = { ArrowLeft: current - 1, ArrowRight: current + 1 };
  if (isInText) Object.assign(aims, { Home: 0, End: last });
  if (!(event.key in aims)) return;
  event.preventDefault();
  explain(Math.min(Math.max(aims[event.key], 0), last));
  spans[current].option.focus();
  if (pinned >= 0) pin(current);
}

/** Show the map of a word, how much the earlier words contribute to it, its candidates and scores. */
function explain(number) {
  [current, other] = [number, null];
  for (const span of spans) {
    const isShown = span === spans[current];
    span.option.setAttribute("aria-selected", isShown);
    span.option.classList.toggle("pinned", span === spans[pinned]);
    span.option.tabIndex = isShown ? 0 : -1;
  }
  colorWords();
  paint();
  showEvidence();
  showCandidates();
  offerConsidered();
  showScores();
  say();
}

/** Words by their map's value at the place that is pointed at; else earlier words by what they contribute. */
function colorWords() {
  const { tokens } = spans[current];
  const method = mainMethod();
  const relevance = method && !isSilent(method, tokens) ? mean(tokens, method.relevance, sample.tokens.length) : undefined;
  const colors = palettes[byId("colors").value];
  for (const span of spans) {
    const isColored = place ? !isSilent(method, span.tokens) : relevance && span.tokens[0] < tokens[0];
    const value = place ? shareHere(method, span.tokens) : Math.max(...span.tokens.map((token) => relevance?.[token] ?? 0));
    const start = 3 * Math.round(value);
    const color = colors.subarray(start, start + 3);
    span.value = isColored ? value / 255 : 0;
    span.option.style.backgroundColor = isColored ? `rgb(${color.join(" ")})` : "";
    span.option.style.color = isColored ? inkOn(color) : "";
    span.option.title = isColored ? `${place ? "value here" : "relevance"} ${decimals(span.value)}` : "";
  }
  byId("legend").textContent = place ? USED : RELEVANT;
}

/** For those who do not see the colours. */
function say() {
  const related = place ? undefined : spans.filter((span) => span.value > 0).sort((one, other) => other.value - one.value)[0];
  const parts = [spanText(spans[current]) + (pinned === current ? ", pinned" : "")];
  if (related) parts.push(`most related to ${spanText(related)}, ${decimals(related.value)}`);
  const evidence = evidenceText(spans[current]);
  if (evidence) parts.push(evidence);
  byId("said").textContent = parts.join(": ");
}
