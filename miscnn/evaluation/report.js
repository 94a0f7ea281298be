/* Sorting, filtering and the slice viewer of a report. */
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);

  /* ---- tables ---- */
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value === "inf" ? Infinity : cell.dataset.value) : cell.textContent;
  };
  function sort(table, column, direction) {
    const rows = [...table.tBodies[0].rows];
    const order = (a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      if (typeof x === "string" || typeof y === "string")
        return direction * String(x).localeCompare(String(y), undefined, { numeric: true });
      const rank = (v) => (Number.isFinite(v) ? 0 : Number.isNaN(v) ? 2 : 1); // these come last either way
      return rank(x) - rank(y) || (rank(x) ? 0 : direction * (x - y));
    };
    rows.sort(order);
    table.tBodies[0].append(...rows);
    [...table.tHead.rows[0].cells].forEach((head, i) =>
      head.setAttribute("aria-sort", i !== column ? "none" : direction > 0 ? "ascending" : "descending"));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const first = table.tBodies[0].rows[0];
      if (first && first.cells[column].classList.contains("number")) head.classList.add("number");
      head.querySelector("button").addEventListener("click", () =>
        sort(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1));
    });
  }

  /* ---- the table of subjects ---- */
  const filter = byId("filter"), kind = byId("class"), counted = byId("counted");
  const rows = [...document.querySelectorAll("#subjects tbody tr")];
  function sift() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!kind || !kind.value || row.dataset.class === kind.value)
        && [...row.cells].filter((cell) => !cell.classList.contains("number")).some((cell) => cell.textContent.toLowerCase().includes(wanted));
      row.hidden = !fits;
      shown += fits;
    }
    counted.textContent = `${shown} of ${rows.length} rows`;
  }
  filter.addEventListener("input", sift);
  if (kind) kind.addEventListener("change", sift);
  sift();

  /* ---- the viewer ---- */
  const dialog = byId("dialog"), place = byId("viewer");
  const subjects = JSON.parse(byId("about").textContent);
  let current = null;
  async function show(id, focus = true) {
    current = id;
    const about = subjects[id];
    byId("subject").textContent = about.title;
    byId("scores").replaceChildren(...about.scores.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    place.className = "";
    place.replaceChildren(Object.assign(document.createElement("p"), { className: "note", textContent: about.reason || "Unpacking …" }));
    if (!dialog.open) dialog.showModal();
    const volume = byId(`volume-${id}`);
    if (!volume) return;
    const fresh = document.createElement("div"); // a slower one must not draw into a later one's place
    place.replaceChildren(fresh);
    const viewer = await miscnnViewer(fresh, volume.textContent);
    if (current === id && focus) viewer.canvas.focus({ preventScroll: true });
  }
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-open]");
    if (target && !window.getSelection().toString()) show(target.dataset.open);
  });
  function step(by, event) { // through the subjects as the table shows them
    const order = [...new Set([...document.querySelectorAll("#subjects tbody tr")].filter((row) => !row.hidden).map((row) => row.dataset.open))];
    const at = order.indexOf(current);
    // whoever has pressed the button by key may want to press it again
    show(order[(at + by + order.length) % order.length] || current, event.detail > 0);
  }
  byId("previous").addEventListener("click", (event) => step(-1, event));
  byId("next").addEventListener("click", (event) => step(1, event));
  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  miscnnTheme(byId("theme"));
})();
