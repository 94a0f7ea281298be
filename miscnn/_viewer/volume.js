/* Volumes as `miscnn/_viewer/encoding.py` has packed them, and the three ways to cut them. */
"use strict";

const miscnnVolume = (() => {
  async function unpacked(text) {
    const document_ = JSON.parse(text);
    const packed = Uint8Array.from(atob(document_.voxels), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    delete document_.voxels;
    const size = document_.shape[0] * document_.shape[1] * document_.shape[2];
    let at = 0;
    const wide = () => {
      const values = new Uint16Array(size);
      for (let i = 0; i < size; i++) values[i] = bytes[at + i] | (bytes[at + size + i] << 8);
      at += 2 * size;
      return values;
    };
    const narrow = () => {
      at += size;
      return bytes.subarray(at - size, at);
    };
    const images = document_.channels.map(() => restored(wide(), document_.shape));
    const labels = () => (document_.wide ? wide() : narrow());
    const truth = document_.truth ? labels() : null;
    const prediction = document_.prediction ? labels() : null;
    return { ...document_, images, truthMap: truth, predictionMap: prediction };
  }

  /* Undo the prediction from the pixels on the left and above. */
  function restored(rest, [slices, rows, columns]) {
    const values = new Int16Array(rest.length);
    let i = 0;
    for (let k = 0; k < slices; k++)
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++, i++) {
          let guess = 0;
          if (r && c) guess = (values[i - 1] + values[i - columns]) >> 1;
          else if (c) guess = values[i - 1];
          else if (r) guess = values[i - columns];
          values[i] = guess + (rest[i] & 1 ? -((rest[i] + 1) >> 1) : rest[i] >> 1);
        }
    return values;
  }

  /* The three ways to cut a volume: which axis is across, down and along, and how. */
  function planesOf(volume) {
    const strides = [volume.shape[1] * volume.shape[2], volume.shape[2], 1];
    const spacing = [0, 1, 2].map((axis) => Math.hypot(...volume.affine.map((row) => row[axis])));
    const patient = volume.letters.map((letter) => ["RL", "AP", "SI"].findIndex((p) => p.includes(letter)));
    const tilt = (axis) => { // the letters at the edges are the nearest ones only
      const degrees = Math.acos(Math.min(1, Math.abs(volume.affine[patient[axis]][axis]) / spacing[axis])) * 180 / Math.PI;
      return degrees > 3 ? ` (tilted by ${Math.round(degrees)}°)` : "";
    };
    const plane = (across, down, along, flips) => ({
      across, down, along, flips, strides, spacing,
      slices: volume.shape[across], rows: volume.shape[down], columns: volume.shape[along],
      name: volume.letters[0] ? ["sagittal", "coronal", "axial"][patient[across]] + tilt(across) : "image",
      left: side(volume.letters[along], !flips[1]), right: side(volume.letters[along], flips[1]),
      top: side(volume.letters[down], !flips[0]), bottom: side(volume.letters[down], flips[0]),
    });
    const planes = [plane(0, 1, 2, [false, false])];
    for (const across of volume.letters[0] && volume.shape[0] > 1 ? [1, 2] : []) {
      const [first, second] = [0, 1, 2].filter((axis) => axis !== across);
      const [down, along] = patient[first] > patient[second] ? [first, second] : [second, first];
      planes.push(plane(across, down, along, [
        !"IP".includes(volume.letters[down]), !"LP".includes(volume.letters[along]),
      ]));
    }
    return planes;
  }

  const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", S: "I", I: "S" };
  const side = (letter, opposite) => (opposite ? OPPOSITE[letter] : letter) || "";

  /* Where row r and column c of a slice lie in the volume. */
  function indexOf(plane, slice, r, c) {
    const row = plane.flips[0] ? plane.rows - 1 - r : r;
    const column = plane.flips[1] ? plane.columns - 1 - c : c;
    const at = [0, 0, 0];
    at[plane.across] = slice;
    at[plane.down] = row;
    at[plane.along] = column;
    return at;
  }

  function cut(values, plane, slice) {
    const result = new values.constructor(plane.rows * plane.columns);
    const [down, along] = [plane.strides[plane.down], plane.strides[plane.along]];
    let i = 0;
    for (let r = 0; r < plane.rows; r++) {
      const start = slice * plane.strides[plane.across]
        + (plane.flips[0] ? plane.rows - 1 - r : r) * down
        + (plane.flips[1] ? (plane.columns - 1) * along : 0);
      const step = plane.flips[1] ? -along : along;
      for (let c = 0; c < plane.columns; c++) result[i++] = values[start + c * step];
    }
    return result;
  }

  /* The slice with most disagreement; else with most that is labelled; else the middle one. */
  function bestSlice(volume, plane) {
    const [truth, prediction] = [volume.truthMap, volume.predictionMap];
    let best = Math.floor((plane.slices - 1) / 2), most = 0;
    for (let k = 0; k < plane.slices; k++) {
      const t = truth && cut(truth, plane, k), p = prediction && cut(prediction, plane, k);
      let weight = 0;
      for (let i = 0; i < plane.rows * plane.columns; i++) {
        if (t && t[i] === volume.ignored) continue;
        if ((t && t[i]) || (p && p[i])) weight += 1;
        if (t && p && t[i] !== p[i]) weight += 3;
      }
      if (weight > most) [best, most] = [k, weight];
    }
    return best;
  }

  return { unpacked, planesOf, indexOf, cut, bestSlice };
})();

/* Let a button go over from light to dark and back; at first the page is as the system is. */
function miscnnTheme(button) {
  const page = document.documentElement;
  const dark = () => (page.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    page.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
}
