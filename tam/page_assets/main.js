"use strict";
// The address says what is shown: #RUN/ROW a sample, nothing the gallery.

async function route() {
  const key = location.hash.slice(1);
  const wanted = gallery.samples.find((line) => keyOf(line) === key);
  if (wanted) {
    try {
      await showSample(wanted);
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
    byId(location.hash.length > 1 ? "sample" : "gallery").focus({ preventScroll: true });
  });
}

start();
