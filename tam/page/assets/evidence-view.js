"use strict";
// How much speaks for a word of the answer: its probability, and its peak in the picture. Evidence, not truth.

const PEAK = "Peak: the highest logit of the word in the picture, before maps are normalised. The line under a word is its"
  + " peak beside the highest of this answer. Evidence, not truth: what a model says by mistake has it, too.";

/** Probability (null: not known) and peak of a word of the answer; undefined for words of the prompt. */
function evidenceOf(span) {
  const own = span.tokens.map((token) => sample.evidence[token - sample.prompt]);
  if (!own.every(Boolean)) return undefined;
  const logprob = own.reduce((sum, [one]) => (sum === null || one === null ? null : sum + one), 0);
  const peak = own.reduce((sum, [, one]) => sum + one, 0) / own.length;
  return { probability: logprob === null ? null : Math.exp(logprob), peak };
}

function highestPeak() {
  return Math.max(...spans.map((span) => evidenceOf(span)?.peak ?? 0));
}

/** A quiet line under each word of the answer: its peak beside the highest. */
function markEvidence() {
  const highest = highestPeak();
  for (const span of spans) {
    const found = evidenceOf(span);
    span.option.style.setProperty("--evidence", found && highest ? found.peak / highest : 0);
  }
}

/** What the evidence of a word is, in words. */
function evidenceText(span) {
  const found = evidenceOf(span);
  if (!found) return "";
  const { probability, peak } = found;
  const sure = probability === null ? [] : [`the model gave the word ${percent(probability)}`];
  const seen = peak > 0
    ? `its peak in the picture is ${peak.toFixed(1)} (the highest of this answer: ${highestPeak().toFixed(1)})`
    : "no part of the picture speaks for it (peak 0)";
  return [...sure, seen].join("; ");
}

function showEvidence() {
  const text = evidenceText(spans[current]);
  byId("evidence").hidden = !text;
  byId("evidence").replaceChildren(
    element("p", { className: "fact" }, element("b", {}, "Evidence: "), text),
    element("p", { className: "note" }, PEAK),
  );
}
