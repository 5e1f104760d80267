"use strict";
// Heat maps: from values of vision tokens to colours of pixels.

/** For each pixel of a length: the two cells that it lies between, and how far it is from the first. */
function between(pixels, cells) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const place = Math.min(Math.max(((pixel + 0.5) * cells) / pixels - 0.5, 0), cells - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, cells - 1), place - first];
  });
}

/**
 * Values on each pixel of a panel, interpolated before they are coloured; where grids overlap, they are averaged. A grid
 * over a picture that was padded reaches beyond it.
 * Returns [values in 0..255, how many grids cover each pixel].
 */
function heat(panel, grids, map) {
  const total = new Float32Array(panel.width * panel.height);
  const count = new Uint8Array(total.length);
  for (const { box: [left, top, right, bottom], rows, columns, start } of grids) {
    const across = between(right - left, columns);
    between(bottom - top, rows).forEach(([above, below, down], y) => {
      if (top + y < 0 || top + y >= panel.height) return;
      const upper = start + above * columns;
      const lower = start + below * columns;
      const row = (top + y) * panel.width;
      for (let x = Math.max(left, 0); x < Math.min(right, panel.width); x++) {
        const [before, after, along] = across[x - left];
        const one = map[upper + before] + along * (map[upper + after] - map[upper + before]);
        const two = map[lower + before] + along * (map[lower + after] - map[lower + before]);
        total[row + x] += one + down * (two - one);
        count[row + x] += 1;
      }
    });
  }
  for (let pixel = 0; pixel < total.length; pixel++) if (count[pixel] > 1) total[pixel] /= count[pixel];
  return [total, count];
}

/** Draw a map on the canvas over a picture, ``ceiling`` in the last colour; pixels without a vision token stay clear. */
function paintHeat(canvas, panel, grids, map, ceiling, colors) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(panel.width, panel.height);
  const [values, count] = heat(panel, grids, map);
  for (let pixel = 0; pixel < values.length; pixel++) {
    if (!count[pixel]) continue;
    const color = 3 * Math.round((values[pixel] * 255) / ceiling);
    image.data.set(colors.subarray(color, color + 3), 4 * pixel);
    image.data[4 * pixel + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function paintScale(canvas, colors) {
  const image = new ImageData(256, 1);
  for (let value = 0; value < 256; value++) {
    image.data.set([...colors.subarray(3 * value, 3 * value + 3), 255], 4 * value);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The mean of each column over the rows [row, width] that are listed. */
function mean(rows, array, width) {
  const found = new Float32Array(width);
  for (const row of rows) {
    for (let column = 0; column < width; column++) found[column] += array[row * width + column] / rows.length;
  }
  return found;
}
