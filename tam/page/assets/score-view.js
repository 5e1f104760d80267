"use strict";
// What the model considered in place of a token, and how well its maps lie.

const NOT_SCORED = "This word is not scored: neither a noun nor a function word of the answer.";
const MOST_COLUMNS = 8;
const NONE_SCORED = "No word of this answer is scored.";

function showCandidates() {
  const { tokens } = spans[current];
  const isPrompt = tokens[0] < sample.prompt;
  byId("candidates-title").textContent = isPrompt ? "What the model expects next" : "What the model considered";
  byId("candidates").replaceChildren(...tokens.map((token) => {
    const rows = sample.candidates[token].map(([piece, share]) => {
      const bar = element("span", { className: "share" });
      bar.style.width = `${100 * share}%`;
      const isChosen = !isPrompt && piece === sample.tokens[token];
      const text = element("span", { className: "piece" }, bar, pieceElement(piece));
      const number = element("span", { className: "number" }, percent(share));
      return element("li", { className: isChosen ? "chosen" : "" }, text, number);
    });
    const title = element("p", {}, isPrompt ? "after " : "token ", pieceElement(sample.tokens[token]));
    title.hidden = tokens.length === 1 && !isPrompt;
    return element("div", {}, title, element("ol", {}, ...rows));
  }));
}

/** A vocabulary entry, apart from the direction of the text around it. */
function pieceElement(piece) {
  return element("bdi", {}, ...pieceNodes(sample.pieces[piece]));
}

function showScores() {
  byId("scores").hidden = embedded.size > 0; // that sample has no reference
  const answered = spans[current].tokens.map((token) => token - sample.prompt).filter((token) => token >= 0);
  const own = sample.scores.filter((row) => answered.includes(row.token));
  const whole = sample.scores.filter((row) => row.token < 0);
  byId("scores").replaceChildren(
    element("h3", {}, "Scores of ", element("bdi", {}, `“${spanText(spans[current])}”`)),
    own.length ? scoreTable(own) : element("p", { className: "note" }, sample.scores.length > whole.length ? NOT_SCORED : NONE_SCORED),
    ...(whole.length ? [element("h3", {}, "Scores of the whole answer"), scoreTable(whole)] : []),
  );
}

/** Metrics as rows, methods as columns, of many only those that are shown; what is the same for all is said once. */
function scoreTable(rows) {
  const names = new Map(gallery.metrics);
  const shown = shownMethods();
  const all = [...gallery.runs[line.run].methods.keys()];
  const listed = all.length > MOST_COLUMNS ? shown : all;
  const titles = listed.map((method) => gallery.runs[line.run].methods[method]);
  const cell = (value) => (typeof value === "number" ? decimals(value) : value ?? "–");
  const mark = (place) => (shown.length < listed.length && shown.includes(listed[place]) ? "shown" : "");
  const head = element("tr", {}, element("td"), ...titles.map((title, place) =>
    element("th", { scope: "col", className: mark(place) }, title)));
  const isSame = ({ values }) => values.every((value) => value === values[0]);
  const body = sameReasonOnce(rows).map(({ metrics, values }) => {
    const name = element("th", { scope: "row" }, metrics.map((metric) => names.get(metric) ?? metric).join(", "));
    const cells = isSame({ values })
      ? [element("td", { colSpan: titles.length, className: "all" }, cell(values[0]))]
      : listed.map((method, place) => element("td", { className: mark(place) }, cell(values[method])));
    return element("tr", {}, name, ...cells);
  });
  const heads = rows.every(isSame) ? [] : [element("thead", {}, head)];
  return element("div", { className: "wide" }, element("table", {}, ...heads, element("tbody", {}, ...body)));
}

/** Neighbouring metrics without a value for the same reasons become one row. */
function sameReasonOnce(rows) {
  const merged = [];
  for (const { metric, values } of rows) {
    const before = merged.at(-1);
    const isWhy = values.every((value) => typeof value === "string");
    if (isWhy && before?.values.every((value, method) => value === values[method])) before.metrics.push(metric);
    else merged.push({ metrics: [metric], values });
  }
  return merged;
}
