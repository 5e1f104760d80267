"use strict";
// The address of a view: #RUN/ROW?words=10-11&method=tam&beside=eci&place=57&scale=word&frame=2. What is as it is when
// a sample is opened is left out. A page that holds its one sample itself has the same, whatever stands for RUN/ROW.

/** {key, view}: which sample, and how it is looked at. */
function readAddress() {
  const [key, view = ""] = location.hash.slice(1).split("?");
  return { key: [...embedded][0] ?? key, view: new URLSearchParams(view) };
}

/** The address says what is shown now, without a step in the browser's history. */
function writeAddress() {
  const run = gallery.runs[line.run];
  const view = {
    words: pinned < 0 ? "" : spans[pinned].tokens.join("-"),
    method: chosen.method === run.names[run.main] ? "" : chosen.method,
    beside: chosen.beside,
    place: isPlacePinned ? String(place.cell) : "",
    scale: byId("scale-of").value === "word" ? "word" : "",
    frame: Number(byId("frame").value) ? byId("frame").value : "",
  };
  const said = new URLSearchParams(Object.entries(view).filter(([, value]) => value)).toString();
  // the whole address: what begins with "#" would be a place in the page around a frame
  const [before] = location.href.split("#");
  history.replaceState(null, "", `${before}#${keyOf(line)}${said && `?${said}`}`);
}
