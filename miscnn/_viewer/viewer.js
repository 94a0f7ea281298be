/* Slices of a volume with the outlines of what is labelled. No library, no network.

   Needs volume.js. miscnnViewer(root, text) fills the element `root` with a viewer of the volume that
   `miscnn/_viewer/encoding.py` has written as `text`; it returns a promise of its controls. */
"use strict";

const miscnnViewer = (() => {
  const { unpacked, planesOf, indexOf, cut, bestSlice } = miscnnVolume;
  const ERRORS = [
    ["missed", "in the truth only"],
    ["added", "in the prediction only"],
    ["other class", "another class than the truth"],
  ];
  const IGNORED = "#9A9A9A";
  let number = 0; // of the viewers on this page: identifiers of labels must differ

  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  function build(root, volume) {
    const id = `mv${++number}`;
    const planes = planesOf(volume);
    const state = {
      plane: planes[0], slice: bestSlice(volume, planes[0]), channel: 0,
      low: volume.channels[0].window[0], high: volume.channels[0].window[1],
      truth: Boolean(volume.truthMap), prediction: Boolean(volume.predictionMap), errors: false,
      opacity: 0.4, pointer: null,
    };
    const widened = (low, high) => [low, high > low ? high : low + (Math.abs(low) * 1e-6 || 1e-6)]; // of a constant image
    [state.low, state.high] = widened(state.low, state.high);
    const colourOf = (label) => label === volume.ignored ? IGNORED
      : volume.colours[(label - 1) % volume.colours.length];
    const nameOf = (label) => volume.names[label] || (label ? `class-${label}` : "background");

    /* ---- what there is to see and to press ---- */
    root.classList.add("mv");
    root.replaceChildren();
    const canvas = element("canvas", {
      class: "mv-canvas", tabindex: "0", role: "application", "aria-describedby": `${id}-help`,
    });
    const sides = Object.fromEntries(["left", "right", "top", "bottom"].map((where) =>
      [where, element("span", { class: `mv-side mv-${where}`, "aria-hidden": "true" })]));
    const stage = element("div", { class: "mv-stage" }, canvas, ...Object.values(sides));
    const slider = element("input", { type: "range", class: "mv-slider", min: "0", step: "1", "aria-label": "Slice" });
    const where = element("output", { class: "mv-where" });
    const under = element("div", { class: "mv-under" });
    const bar = element("div", { class: "mv-bar", role: "group", "aria-label": "View" });
    const layers = element("div", { class: "mv-bar", role: "group", "aria-label": "Overlay" });
    const legend = element("ul", { class: "mv-legend", "aria-label": "Classes" });
    const help = element("p", { class: "mv-help", id: `${id}-help` },
      (volume.flat ? "" : "Scroll: wheel, arrow keys, PageUp/PageDown, Home/End, or swipe sideways. ")
      + "Window: drag with the right button or with Shift. "
      + (volume.truthMap || volume.predictionMap ? "Keys: T truth, P prediction, E errors, R resets the window." : "Key R resets the window."));

    function choice(name, options, chosen, changed) {
      const select = element("select", { id: `${id}-${name}` });
      for (const [value, text] of options) select.append(element("option", { value }, text));
      select.value = chosen;
      select.addEventListener("change", () => changed(select.value));
      bar.append(element("label", { for: select.id }, name, select));
      return select;
    }
    function numberField(name, changed) {
      const input = element("input", { type: "number", step: "any", id: `${id}-${name}` });
      input.addEventListener("change", () => Number.isFinite(input.valueAsNumber) && changed(input.valueAsNumber));
      bar.append(element("label", { for: input.id }, name, input));
      return input;
    }
    function toggle(name, title, changed) {
      const box = element("input", { type: "checkbox", id: `${id}-${name.split(" ")[0]}` });
      box.addEventListener("change", () => changed(box.checked));
      layers.append(element("label", { for: box.id, title }, box, name));
      return box;
    }

    if (planes.length > 1)
      choice("Plane", planes.map((p, i) => [String(i), p.name]), "0", (value) => {
        state.plane = planes[Number(value)];
        state.slice = bestSlice(volume, state.plane);
        fit();
      });
    if (volume.channels.length > 1)
      choice("Channel", volume.channels.map((_, i) => [String(i), String(i)]), "0", (value) => {
        state.channel = Number(value);
        offer();
        resetWindow();
      });
    let presets = [];
    const preset = choice("Preset", [], "", (value) => {
      const channel = volume.channels[state.channel];
      if (value === "percentiles") setWindow(...channel.percentiles);
      else if (value === "all") setWindow(...extremes());
      else if (value !== "") setWindow(presets[Number(value)][1], presets[Number(value)][2]);
    });
    function offer() { // what the channel's values allow
      presets = volume.channels[state.channel].ct
        ? [["soft tissue", -160, 240], ["lung", -1350, 150], ["bone", -500, 1300]] : [];
      preset.replaceChildren(...[
        ...presets.map(([name], i) => [String(i), name]), ["percentiles", "1–99.5 %"], ["all", "all values"], ["", "own"],
      ].map(([value, text]) => element("option", { value }, text)));
      preset.value = presets.length ? "0" : "percentiles";
    }
    offer();
    const width = numberField("Width", (value) => setWindowBy(value, (state.low + state.high) / 2));
    const level = numberField("Level", (value) => setWindowBy(state.high - state.low, value));

    const boxes = {};
    if (volume.truthMap) boxes.truth = toggle("Truth (outline)", "key T", (on) => set({ truth: on }));
    if (volume.predictionMap) boxes.prediction = toggle("Prediction (filled)", "key P", (on) => set({ prediction: on }));
    if (volume.truthMap && volume.predictionMap)
      boxes.errors = toggle("Errors", "where both differ, in place of the prediction (key E)", (on) => set({ errors: on }));
    if (volume.predictionMap) {
      const opacity = element("input", { type: "range", min: "0", max: "1", step: "0.05", value: "0.4", id: `${id}-opacity` });
      opacity.addEventListener("input", () => set({ opacity: Number(opacity.value) }));
      layers.append(element("label", { for: opacity.id }, "Opacity", opacity));
    }
    const rows = [bar];
    if (layers.childElementCount) rows.push(layers);
    root.append(...rows, stage, element("div", { class: "mv-scroll" }, slider, where), under, legend, help);
    if (volume.flat) slider.hidden = true;

    /* ---- window ---- */
    function extremes() {
      const channel = volume.channels[state.channel], values = volume.images[state.channel];
      let low = Infinity, high = -Infinity;
      for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
      return [low, high].map((value) => value * channel.slope + channel.intercept);
    }
    function setWindow(low, high) {
      [low, high] = widened(low, high);
      Object.assign(state, { low, high });
      const same = (a, b) => Math.abs(a - b) <= 1e-6 * (high - low);
      const known = presets.findIndex(([, l, h]) => same(l, low) && same(h, high));
      const [first, last] = widened(...volume.channels[state.channel].percentiles);
      if (known >= 0) preset.value = String(known);
      else if (same(first, low) && same(last, high)) preset.value = "percentiles";
      else if (preset.value !== "all" || !same(low, extremes()[0]) || !same(high, extremes()[1])) preset.value = "";
      draw();
    }
    const setWindowBy = (w, l) => setWindow(l - Math.abs(w) / 2, l + Math.abs(w) / 2);
    const resetWindow = () => setWindow(...volume.channels[state.channel].window);
    const rounded = (value) => Number(value.toPrecision(4));

    /* ---- drawing ---- */
    function set(changes) {
      Object.assign(state, changes);
      draw();
    }
    function go(slice) {
      set({ slice: Math.max(0, Math.min(state.plane.slices - 1, slice)) });
    }
    const original = () => { // number of the slice in the volume that was packed, from 1
      const { plane, slice } = state, total = volume.sizes[plane.across];
      const at = Math.round((slice + 0.5) * (total / plane.slices) - 0.5);
      return [volume.flips[plane.across] ? total - at : at + 1, total];
    };
    function fit() {
      const { plane } = state;
      const height = plane.rows * plane.spacing[plane.down], across = plane.columns * plane.spacing[plane.along];
      const most = Math.max(160, Math.min(window.innerHeight * 0.62, 640));
      const scale = Math.min((stage.clientWidth || 320) / across, most / height);
      const ratio = window.devicePixelRatio || 1;
      canvas.style.width = `${across * scale}px`;
      canvas.style.height = `${height * scale}px`;
      canvas.width = Math.max(1, Math.round(across * scale * ratio));
      canvas.height = Math.max(1, Math.round(height * scale * ratio));
      slider.max = String(plane.slices - 1);
      for (const [name, mark] of Object.entries(sides)) mark.textContent = plane[name];
      draw();
    }
    const small = document.createElement("canvas");
    function paint(pixels, smooth, alpha) {
      const context = canvas.getContext("2d");
      small.width = state.plane.columns;
      small.height = state.plane.rows;
      small.getContext("2d").putImageData(pixels, 0, 0);
      context.globalAlpha = alpha;
      context.imageSmoothingEnabled = smooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    }
    function draw() {
      const { plane, slice } = state;
      const channel = volume.channels[state.channel];
      const values = cut(volume.images[state.channel], plane, slice);
      const truth = volume.truthMap && cut(volume.truthMap, plane, slice);
      const prediction = volume.predictionMap && cut(volume.predictionMap, plane, slice);
      const pixels = new ImageData(plane.columns, plane.rows);
      const scale = 255 / (state.high - state.low);
      for (let i = 0; i < values.length; i++) {
        const grey = (values[i] * channel.slope + channel.intercept - state.low) * scale;
        pixels.data.fill(grey, 4 * i, 4 * i + 3);
        pixels.data[4 * i + 3] = 255;
      }
      paint(pixels, true, 1);
      if (prediction && (state.prediction || state.errors)) {
        const fill = new ImageData(plane.columns, plane.rows);
        for (let i = 0; i < prediction.length; i++) {
          const colour = state.errors ? errorColour(truth[i], prediction[i])
            : prediction[i] ? colourOf(prediction[i]) : null;
          if (!colour) continue;
          fill.data.set(rgb(colour), 4 * i);
          fill.data[4 * i + 3] = 255;
        }
        paint(fill, false, state.opacity);
      }
      if (truth && state.truth) outline(truth, plane);
      tell(truth, prediction);
    }
    function errorColour(truth, prediction) {
      if (truth === prediction || truth === volume.ignored) return null;
      return volume.errors[prediction === 0 ? 0 : truth === 0 ? 1 : 2];
    }
    /* Lines along the pixels' edges, pulled to the inside: classes that touch keep both lines. */
    function outline(labels, plane) {
      const context = canvas.getContext("2d");
      const [dx, dy] = [canvas.width / plane.columns, canvas.height / plane.rows];
      const ratio = window.devicePixelRatio || 1, inset = ratio;
      const paths = new Map();
      const at = (r, c) => (r < 0 || c < 0 || r >= plane.rows || c >= plane.columns ? -1 : labels[r * plane.columns + c]);
      for (let r = 0; r < plane.rows; r++)
        for (let c = 0; c < plane.columns; c++) {
          const label = at(r, c);
          if (!label) continue;
          const differs = (other) => other !== label && other !== -1;
          const [up, down, left, right] = [at(r - 1, c), at(r + 1, c), at(r, c - 1), at(r, c + 1)].map(differs);
          if (!(up || down || left || right)) continue;
          if (!paths.has(label)) paths.set(label, new Path2D());
          const path = paths.get(label);
          const [x0, x1, y0, y1] = [c * dx, (c + 1) * dx, r * dy, (r + 1) * dy];
          if (up) { path.moveTo(x0, y0 + inset); path.lineTo(x1, y0 + inset); }
          if (down) { path.moveTo(x0, y1 - inset); path.lineTo(x1, y1 - inset); }
          if (left) { path.moveTo(x0 + inset, y0); path.lineTo(x0 + inset, y1); }
          if (right) { path.moveTo(x1 - inset, y0); path.lineTo(x1 - inset, y1); }
        }
      context.lineCap = "round";
      for (const [colour, thick] of [["rgba(0,0,0,0.55)", 3.2], [null, 1.7]])
        for (const [label, path] of paths) {
          context.strokeStyle = colour || colourOf(label);
          context.lineWidth = thick * ratio;
          context.stroke(path);
        }
    }

    /* ---- words ---- */
    function tell(truth, prediction) {
      const [shown, total] = original();
      const text = volume.flat ? "" : `slice ${shown} of ${total}`;
      slider.value = String(state.slice);
      slider.setAttribute("aria-valuetext", text);
      canvas.setAttribute("aria-label", `${volume.title || "Volume"}: ${state.plane.name}${text && ", "}${text}`);
      where.textContent = text;
      width.value = String(rounded(state.high - state.low));
      level.value = String(rounded((state.low + state.high) / 2));
      for (const [name, box] of Object.entries(boxes)) box.checked = state[name];
      point();
      explain(truth, prediction);
    }
    function point() {
      if (!state.pointer) {
        under.textContent = "Point at the image for position and value.";
        return;
      }
      const { plane } = state, [r, c] = state.pointer;
      const at = indexOf(plane, state.slice, r, c);
      const i = at[0] * plane.strides[0] + at[1] * plane.strides[1] + at[2];
      const channel = volume.channels[state.channel];
      const place = volume.affine.map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]);
      const parts = [volume.letters[0]
        ? place.map((mm, axis) => `${"LPI RAS"[(mm >= 0 ? 4 : 0) + axis]} ${Math.abs(mm).toFixed(1)}`).join(", ") + " mm"
        : `${place[0].toFixed(1)}, ${place[1].toFixed(1)} mm`];
      parts.push(`${rounded(volume.images[state.channel][i] * channel.slope + channel.intercept)}${channel.ct ? " HU" : ""}`);
      if (volume.truthMap) parts.push(`truth: ${nameOf(volume.truthMap[i])}`);
      if (volume.predictionMap) parts.push(`prediction: ${nameOf(volume.predictionMap[i])}`);
      under.textContent = parts.join(" · ");
    }
    const labelsIn = (...maps) => [...new Set(maps.flatMap((map) => (map ? [...new Set(map)] : [])))]
      .filter((label) => label > 0).sort((a, b) => a - b);
    const all = labelsIn(volume.truthMap, volume.predictionMap);
    const repeated = all.length > volume.colours.length; // then those of the slice alone are told
    let explained = null;
    function explain(truth, prediction) {
      const present = repeated ? labelsIn(truth, prediction) : all;
      const now = JSON.stringify([state.errors, present]);
      if (explained === now) return;
      explained = now;
      const entry = (colour, text, title = "") => element("li", { title },
        Object.assign(element("span", { class: "mv-swatch" }), { style: `background:${colour}` }), text);
      legend.replaceChildren(
        ...(state.errors ? ERRORS.map(([name, meaning], k) => entry(volume.errors[k], name, meaning)) : []),
        ...present.map((label) => entry(colourOf(label), nameOf(label))),
        ...(repeated ? [element("li", { class: "mv-repeated" }, "Classes of this slice; colours repeat: point at one for its name.")] : []));
    }

    /* ---- hands ---- */
    const KEYS = {
      ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity,
    };
    function pressed(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const letter = event.key.length === 1 ? { t: "truth", p: "prediction", e: "errors" }[event.key.toLowerCase()] : null;
      if (event.key in KEYS) go(state.slice + KEYS[event.key]);
      else if (letter && boxes[letter]) set({ [letter]: !state[letter] });
      else if (event.key.toLowerCase() === "r") resetWindow();
      else return;
      event.preventDefault();
    }
    canvas.addEventListener("keydown", pressed);
    slider.addEventListener("keydown", pressed);
    slider.addEventListener("input", () => go(Number(slider.value)));
    let turned = 0;
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || state.plane.slices < 2) return; // the page is enlarged, or scrolled
      event.preventDefault();
      turned += event.deltaMode ? 40 * Math.sign(event.deltaY) : event.deltaY;
      if (Math.abs(turned) < 40) return;
      go(state.slice + Math.sign(turned));
      turned = 0;
    }, { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      const windowing = event.button === 2 || event.shiftKey;
      if (!windowing && event.pointerType === "mouse") return;
      drag = { windowing, x: event.clientX, y: event.clientY, slice: state.slice, low: state.low, high: state.high };
      canvas.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      state.pointer = [[event.clientY - box.top, box.height, state.plane.rows], [event.clientX - box.left, box.width, state.plane.columns]]
        .map(([at, length, count]) => Math.max(0, Math.min(count - 1, Math.floor((at / length) * count))));
      if (!drag) { point(); return; }
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.windowing) { go(drag.slice + Math.round((dx / box.width) * state.plane.slices)); return; }
      const span = drag.high - drag.low; // half of the image's width doubles the window
      const step = span / 150;
      setWindowBy(Math.max(span / 100, span + dx * step), (drag.low + drag.high) / 2 + dy * step);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drag = null; });
    canvas.addEventListener("pointerleave", () => { state.pointer = null; point(); });
    let waiting = 0;
    new ResizeObserver(() => { // in the next frame, or the observer would be told of its own work
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(fit);
    }).observe(stage);
    fit();
    return { root, canvas, state, go, setWindow };
  }

  return async (root, text) => {
    try {
      return build(root, await unpacked(text));
    } catch (error) {
      root.replaceChildren(element("p", { class: "mv-help", role: "alert" },
        typeof DecompressionStream === "undefined"
          ? "This browser is too old for the viewer: it has no DecompressionStream."
          : `The volume cannot be shown: ${error.message}`));
      throw error;
    }
  };
})();
