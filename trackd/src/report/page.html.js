for (const head of document.querySelectorAll("table.sort th")) {
  head.firstChild.addEventListener("click", () => {
    const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const text = row => row.cells[column].textContent, number = row => parseFloat(text(row));
    const order = head.classList.contains("n")
      // What is no number comes last either way.
      ? (a, b) => isNaN(number(a)) - isNaN(number(b)) || (up ? 1 : -1) * ((number(a) - number(b)) || 0)
      : (a, b) => (up ? 1 : -1) * text(a).localeCompare(text(b), "en", { numeric: true });
    for (const row of [...body.rows].sort(order)) body.append(row);
  });
}
