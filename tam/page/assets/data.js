"use strict";
// What the data files say. Each is one call: gallery.js of showGallery, RUN/ROW.js of receiveSample.

let gallery; // {runs, samples, metrics, colors, steps}
let received; // what the sample file that is loading said
const loaded = new Map(); // key -> promise of a sample
const embedded = new Map(); // key -> addresses of pictures, in a page that holds its one sample itself

function showGallery(data) {
  gallery = data;
}

function receiveSample(data) {
  received = data;
}

function embedSample(key, addresses, data) {
  embedded.set(key, addresses);
  loaded.set(key, unpackSample(data));
}

/** The address of a picture of a sample. */
function pictureOf(key, number) {
  return embedded.get(key)?.[number] ?? `page/${key}-${number}.webp`;
}

function keyOf(line) {
  return `${line.run}/${line.name}`;
}

function loadSample(key) {
  if (!loaded.has(key)) loaded.set(key, loadScript(`page/${key}.js`).then(() => unpackSample(received)));
  return loaded.get(key);
}

function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = () => { script.remove(); resolve(); };
    script.onerror = () => reject(new Error(`${path} is missing: keep the folder "page" beside index.html`));
    document.head.append(script);
  });
}

async function unpackSample(sample) {
  await Promise.all(sample.methods.filter((method) => method.maps).map(async (method) => {
    const [steps, relevance] = await Promise.all([unpack(method.maps), unpack(method.relevance)]);
    method.maps = steps.map((step) => Math.round((step * 255) / gallery.steps));
    method.relevance = relevance;
  }));
  return sample;
}

/** base64 of deflated bytes -> Uint8Array */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
