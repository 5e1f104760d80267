"use strict";
// What the model considered and did not say: a click on a candidate shows its map, by TAM, in place of the word's.

let other = null; // the candidate that is shown: {token, place, map}

function showConsidered(candidate) {
  other = candidate;
  for (const button of byId("candidates").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", other !== null && button.dataset.at === `${other.token}/${other.place}`);
  }
  paint();
  if (other) byId("said").textContent = `Map of ${consideredText(other)}`;
}

/** The candidates of the shown word that have a map become buttons. */
function offerConsidered() {
  spans[current].tokens.forEach((token, number) => {
    const items = byId("candidates").children[number].querySelectorAll("li");
    for (const candidate of sample.considered.filter((one) => one.token === token)) {
      const item = items[candidate.place];
      const button = element("button", { type: "button", title: "Show its map, by TAM" }, ...item.childNodes);
      button.dataset.at = `${token}/${candidate.place}`;
      button.setAttribute("aria-pressed", false);
      button.addEventListener("click", () => showConsidered(other === candidate ? null : candidate));
      item.append(button);
    }
  });
}

/** The candidate whose map a canvas shows: on the pictures of the first method, if one was clicked. */
function consideredOn(canvas) {
  return Number(canvas.dataset.method) === shownMethods()[0] ? other : null;
}

function consideredText({ token, place: rank }) {
  const [piece] = sample.candidates[token][rank];
  return `“${runText(sample.pieces[piece].runs)}”, considered and not said, by TAM`;
}
