"use strict";
// Figures: each waits until it is nearly in view, so that a page of many opens at once.
function wide(spec, width) {
  for (const panel of spec.vconcat || [spec]) panel.width = width;
}
async function fitted(plot, spec, room) {  // for a phone: the legend below, and as wide as the page
  const how = { actions: false, renderer: "svg" };
  if (room >= 560) return window.vegaEmbed(plot, spec, how);
  spec.config = { ...spec.config, legend: { ...spec.config.legend, orient: "bottom", columns: 3 } };
  wide(spec, room - 70);
  await window.vegaEmbed(plot, spec, how);
  const over = plot.querySelector("svg").viewBox.baseVal.width - room;  // what the axis took beyond 70
  if (over > 0) { wide(spec, room - 70 - over); await window.vegaEmbed(plot, spec, how); }
}
function drawn(holder) {
  const spec = JSON.parse(holder.querySelector("script").textContent), plot = holder.querySelector(".plot");
  fitted(plot, spec, holder.clientWidth)
    .then(() => { holder.dataset.drawn = "yes"; })
    .catch((error) => { holder.dataset.drawn = "no"; plot.textContent = String(error); });
}
const watcher = new IntersectionObserver((seen) => {
  for (const one of seen) if (one.isIntersecting) { watcher.unobserve(one.target); drawn(one.target); }
}, { rootMargin: "600px" });
for (const holder of document.querySelectorAll(".figure")) watcher.observe(holder);
window.addEventListener("beforeprint", () => document.querySelectorAll(".figure:not([data-drawn])").forEach(drawn));

// Tables: a click or Enter on a heading sorts by it, once more the other way; numbers by their value.
function sorted(table, column, down) {
  const rows = [...table.tBodies[0].rows];
  const key = (row) => { const cell = row.cells[column]; const n = Number(cell.dataset.value); return cell.dataset.value !== "" && !Number.isNaN(n) ? n : cell.textContent.trim(); };
  rows.sort((one, two) => {
    const a = key(one), b = key(two);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;  // what has no number comes last
    const order = typeof a === "number" ? a - b : a.localeCompare(b);
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows);
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sorted(table, [...head.parentNode.children].indexOf(head), down);
  });
}
