"use strict";
// The gallery: all samples of a run as cards, filtered and sorted.

const EVERY = "";
let listed = []; // lines of the samples that are shown, in order

function startGallery() {
  fill(byId("run"), gallery.runs.map((run, number) => [number, `${run.dataset} · ${run.model}`]));
  byId("run-field").hidden = gallery.runs.length < 2;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", (event) => {
    if (event.target.id === "run") offerChoices();
    list();
  });
  byId("clear").addEventListener("click", () => {
    const run = chosenRun();
    byId("filters").reset();
    byId("run").value = run;
    offerChoices();
    list();
    byId("search").focus();
  });
  offerChoices();
  list();
}

function fill(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value }, text)));
}

/** The gallery lists one run: that of the sample that is looked at. */
function chooseRun(run) {
  if (run === chosenRun()) return;
  byId("run").value = run;
  offerChoices();
  list();
}

function chosenRun() {
  return Number(byId("run").value);
}

/** What can be chosen depends on the run. */
function offerChoices() {
  const lines = gallery.samples.filter((line) => line.run === chosenRun());
  const counts = new Map();
  for (const line of lines) counts.set(line.kind, (counts.get(line.kind) ?? 0) + 1);
  const statuses = [...counts].map(([kind, count]) => [kind, `${STATUS[kind]} (${count})`]);
  fill(byId("status"), [[EVERY, `all (${lines.length})`], ...statuses]);
  const { methods, main } = gallery.runs[chosenRun()];
  fill(byId("scored-method"), methods.map((title, number) => [number, title]));
  byId("scored-method").value = main;
  const known = gallery.metrics.map(([, title], number) => [number, title]);
  const isScored = ([number]) => lines.some((line) => line.scores.some((one) => one[number] !== null));
  fill(byId("metric"), known.filter(isScored));
}

/** The chosen score of a sample, null if it has none. */
function scoreOf(line) {
  return line.scores[byId("scored-method").value]?.[byId("metric").value] ?? null;
}

function list() {
  const status = byId("status").value;
  const search = byId("search").value.trim().toLowerCase();
  const [least, most] = ["least", "most"].map((id) => byId(id).valueAsNumber);
  const all = gallery.samples.filter((line) => line.run === chosenRun());
  listed = all.filter((line) => {
    const score = scoreOf(line);
    const inRange = score === null ? !(least > 0 || most < 1) : !(score < least || score > most);
    const found = `${line.id}\n${line.answer}`.toLowerCase().includes(search);
    return inRange && found && (status === EVERY || line.kind === status);
  });
  const direction = { lowest: 1, highest: -1 }[byId("order").value];
  if (direction) listed.sort((one, other) => compareScores(scoreOf(one), scoreOf(other), direction));
  byId("cards").replaceChildren(...listed.map(card));
  const { of } = gallery.runs[chosenRun()];
  const more = of > all.length ? `, the first of ${of} in the dataset` : "";
  byId("count").textContent = `${listed.length} of ${all.length} samples${more}`;
  byId("no-match").hidden = listed.length > 0 || !all.length;
}

/** Samples without a score come last in either direction. */
function compareScores(one, other, direction) {
  if (one === null || other === null) return (one === null) - (other === null);
  return direction * (one - other);
}

function card(line) {
  const score = scoreOf(line);
  const key = keyOf(line);
  const picture = line.picture
    ? element("img", { src: `page/${key}.webp`, alt: "", loading: "lazy", decoding: "async" })
    : element("span", { className: "no-picture" }, "no picture");
  const facts = element("span", { className: "facts" }, element("span", { className: "id" }, line.id));
  if (line.kind !== "ok") {
    const status = element("span");
    showStatus(status, line);
    facts.append(status);
  }
  if (score !== null) {
    const title = byId("metric").selectedOptions[0].text;
    facts.append(element("span", { className: "score" }, `${title} `, element("b", {}, decimals(score))));
  }
  const answer = element("span", { className: "answer", dir: "auto" }, line.answer || "no answer");
  const frame = element("span", { className: "frame" }, picture);
  return element("li", {}, element("a", { href: `#${key}` }, frame, answer, facts));
}
