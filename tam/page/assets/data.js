"use strict";
// What the data files say. Each is one call: gallery.js of showGallery, RUN/ROW.js of receiveSample.

let gallery; // {runs, samples, metrics, colors, steps}
let received; // what the sample file that is loading said
const loaded = new Map(); // key -> promise of a sample
const embedded = new Set(); // the key of the one sample that a page holds itself

function showGallery(data) {
  gallery = data;
}

function receiveSample(...packed) {
  received = packed;
}

function embedSample(key, ...packed) {
  embedded.add(key);
  loaded.set(key, unpackSample(...packed));
}

function keyOf(line) {
  return `${line.run}/${line.name}`;
}

function loadSample(key) {
  if (!loaded.has(key)) loaded.set(key, loadScript(`page/${key}.js`).then(() => unpackSample(...received)));
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

/** Text, maps and relevance as tam/page/sample.py describes them; and its pictures, each a WebP in base64. */
async function unpackSample(text, numbers, pictures) {
  const [said, values] = await Promise.all([unpack(text), unpack(numbers)]);
  const sample = JSON.parse(new TextDecoder().decode(said));
  const tokens = sample.tokens.length;
  const mapped = sample.methods.filter((method) => method.mapped);
  let start = 0;
  const next = (length) => values.subarray(start, (start += length));
  for (const method of mapped) method.maps = next(tokens * sample.vision).map((step) => Math.round((step * 255) / gallery.steps));
  for (const method of mapped) method.relevance = next(tokens * tokens);
  const inSteps = (steps) => steps.map((step) => Math.round((step * 255) / gallery.steps));
  sample.considered = sample.considered.map(([token, place]) => ({ token, place, map: inSteps(next(sample.vision)) }));
  sample.pictures = pictures.map((picture) => `data:image/webp;base64,${picture}`);
  return sample;
}

/** base64 of deflated bytes -> Uint8Array */
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
