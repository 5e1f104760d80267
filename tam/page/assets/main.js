"use strict";
// The address says what is shown: #RUN/ROW a sample, nothing the gallery, or the one sample that the page holds itself.

async function route() {
  const key = [...embedded.keys()][0] ?? location.hash.slice(1);
  const wanted = gallery.samples.find((line) => keyOf(line) === key);
  if (wanted) {
    chooseRun(wanted.run);
    try {
      const data = await loadSample(key);
      if (!embedded.size && location.hash.slice(1) !== key) return; // gone on meanwhile
      showSample(wanted, data);
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
  window.scrollTo(0, 0);
}

async function start() {
  startGallery();
  await startSample();
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
