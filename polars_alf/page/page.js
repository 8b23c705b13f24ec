"use strict";
document.documentElement.classList.add("js");
for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const count = box.querySelector(".count");
  box.querySelector("input")?.addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    count.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
  const heads = [...box.querySelectorAll("th")];
  for (const [column, head] of heads.entries()) {
    head.querySelector("button").addEventListener("click", () => {
      const isNumber = head.classList.contains("n");
      const was = head.getAttribute("aria-sort");
      const direction = was ? (was === "ascending" ? "descending" : "ascending") : isNumber ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.v;
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x !== undefined || y !== undefined) {
          if (x === undefined) return 1;
          if (y === undefined) return -1;
          return sign * (x - y);
        }
        return sign * a.cells[column].textContent.localeCompare(b.cells[column].textContent);
      });
      body.append(...rows);
    });
  }
}
