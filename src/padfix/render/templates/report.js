"use strict";
const rows = [...document.querySelectorAll("#findings tbody tr")];
const search = document.getElementById("search");
const rule = document.getElementById("rule");
const boxes = [...document.querySelectorAll("input[data-severity]")];
const shown = document.getElementById("shown");

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const severities = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.severity));
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const visible = severities.has(row.dataset.severity) && (!rule.value || row.dataset.rule === rule.value)
      && words.every((word) => text.includes(word));
    row.hidden = !visible;
    count += visible;
  }
  for (const row of document.querySelectorAll("#repositories tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word)) && !rows.some(
      (found) => !found.hidden && found.cells[2].textContent === row.cells[0].textContent);
  }
  shown.textContent = `${count} of ${rows.length} findings`;
}

function sort(table, column, ascending) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    return cell ? cell.dataset.sort ?? cell.textContent.trim() : "";
  };
  const order = new Intl.Collator("en", { numeric: true });
  const sorted = [...body.rows].sort((a, b) => order.compare(key(a), key(b)) * (ascending ? 1 : -1));
  body.append(...sorted);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    sort(table, column, ascending);
  }));
}
// a repository or a rule in the tables of the run: show its findings
for (const button of document.querySelectorAll(".run button")) button.addEventListener("click", () => {
  search.value = button.dataset.search ?? "";
  rule.value = button.dataset.pick ?? "";
  filter();
  document.querySelector(".controls").scrollIntoView();
});
for (const control of [search, rule, ...boxes]) control.addEventListener("input", filter);
filter();
