"use strict";
// Which methods are looked at: one, two beside each other, or all. By groups, because a run can have twenty.

const EVERY_METHOD = "*";
const chosen = { method: "", beside: "" }; // names; what was chosen stays chosen from sample to sample

function startMethods(onChange) {
  for (const id of ["method", "beside"]) {
    byId(id).addEventListener("change", () => { chosen[id] = byId(id).value; offerMethods(); onChange(); });
  }
}

/** The choices of this sample: what it has no maps of cannot be chosen, and says why. */
function offerMethods() {
  const { names, methods, main, groups } = gallery.runs[line.run];
  const isMapped = (name) => Boolean(sample.methods[names.indexOf(name)]?.maps);
  const last = names.findLast(isMapped);
  if (!isMapped(chosen.method)) chosen.method = isMapped(names[main]) ? names[main] : last ?? names[main];
  if (chosen.beside !== EVERY_METHOD && (!isMapped(chosen.beside) || chosen.beside === chosen.method)) chosen.beside = "";
  const option = (number, isOther) => {
    const value = names[number];
    const disabled = !isMapped(value) || isOther;
    return element("option", { value, disabled, title: isMapped(value) ? "" : sample.methods[number].status }, methods[number]);
  };
  const grouped = (other) => groups.map(([label, numbers]) =>
    element("optgroup", { label }, ...numbers.map((number) => option(number, names[number] === other))));
  byId("method").replaceChildren(...grouped(""));
  byId("beside").replaceChildren(
    element("option", { value: "" }, "nothing"), element("option", { value: EVERY_METHOD }, "all methods"), ...grouped(chosen.method),
  );
  byId("method").value = chosen.method;
  byId("beside").value = chosen.beside;
  byId("methods").hidden = names.length < 2;
}

/** Numbers of the methods that are shown: the chosen one first, all others as they are grouped. */
function shownMethods() {
  const { names, groups } = gallery.runs[line.run];
  const others = chosen.beside === EVERY_METHOD ? groups.flatMap(([, numbers]) => numbers) : [names.indexOf(chosen.beside)];
  return [...new Set([names.indexOf(chosen.method), ...others])].filter((number) => sample.methods[number]?.maps);
}

/** The method whose values colour the words; undefined where the sample has no maps. */
function mainMethod() {
  return sample.methods[gallery.runs[line.run].names.indexOf(chosen.method)];
}

/** Whether a method says nothing of one of these tokens, or has no maps. */
function isSilent({ maps, unexplained = [] }, tokens) {
  return !maps || tokens.some((token) => unexplained.includes(token));
}

/** The map of a word, 0 to 255: the mean of its tokens'. */
function mapOf({ maps }, tokens) {
  return mean(tokens, maps, sample.vision);
}

/** What colours are stretched to: 255, or a word's own highest value where that is no mere rest. */
function ceilingOf(map) {
  const highest = map.reduce((one, other) => Math.max(one, other), 0);
  return byId("scale-of").value === "word" && highest >= FAINT ? highest : 255;
}
