"use strict";
// The address says what is shown: #RUN/ROW a sample (address.js), nothing the gallery.

async function route() {
  const { key, view } = readAddress();
  const wanted = gallery.samples.find((line) => keyOf(line) === key);
  if (wanted) {
    chooseRun(wanted.run);
    try {
      const data = await loadSample(key);
      if (readAddress().key !== key) return; // gone on meanwhile
      showSample(wanted, data, view);
    } catch (error) {
      console.error(error);
      byId("problem").textContent = error.message;
      byId("problem").hidden = false;
      byId("explorer").hidden = true;
    }
  }
  byId("gallery").hidden = Boolean(wanted);
  byId("sample").hidden = !wanted;
  document.title = wanted ? `${wanted.id} – Token activation maps` : "Token activation maps";
  showFacts();
  window.scrollTo(0, 0);
}

/** How the run that is looked at came about. */
function showFacts() {
  byId("facts").replaceChildren(...gallery.runs[chosenRun()].facts.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

async function start() {
  startGallery();
  await startSample();
  startSaving();
  await route();
  window.addEventListener("hashchange", async () => {
    await route();
    // back in the gallery, one is where one was
    const card = byId("sample").hidden && line && document.querySelector(`#cards a[href="#${keyOf(line)}"]`);
    if (card) card.focus();
    else byId(byId("sample").hidden ? "gallery" : "sample").focus({ preventScroll: true });
  });
}

start();
