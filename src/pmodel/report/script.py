"""The script of the pages: it sorts tables, and folds long ones on a narrow screen.

Without it nothing is missing. The page's policy names it by its hash.
"""

__all__ = ["SCRIPT"]

SCRIPT = """
"use strict";
// A column is sorted by its numbers in full (data-value), or by its text; what has no number comes last either way.
// The first press puts the better end first, the second turns it round, the third gives back the order of the file.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], given = [...body.rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const buttons = new Map();

  const key = (row, index, byText) => {
    const cell = row.cells[index];
    if (!cell) return null;
    if (byText) return (cell.dataset.text ?? cell.firstChild?.textContent ?? "") || null;
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };

  const sort = (index, direction) => {
    const byText = index !== null && heads[index].dataset.sort === "text";
    const sign = direction === "descending" ? -1 : 1;
    const rows = direction === "none" ? given : given.toSorted((a, b) => {
      const [p, q] = [key(a, index, byText), key(b, index, byText)];
      if (p === null || q === null) return (p === null) - (q === null);
      return sign * (byText ? p.localeCompare(q) : p - q);
    });
    body.append(...rows);
    heads.forEach((head, k) => head.ariaSort = k === index && direction !== "none" ? direction : null);
  };

  const first = (head) => head.dataset.sort === "text" ? "ascending" : head.dataset.sort;
  heads.forEach((head, index) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    buttons.set(index, button);
    button.addEventListener("click", () => {
      const last = first(head) === "ascending" ? "descending" : "ascending";
      const turns = {[first(head)]: last, [last]: "none"};
      sort(index, turns[head.ariaSort] ?? first(head));
      select.value = head.ariaSort ? index : "";
    });
  });

  // On a narrow screen rows are cards and there are no heads to press.
  const label = document.createElement("label"), select = document.createElement("select");
  label.className = "sorter";
  label.append("Sorted ", select);
  select.append(new Option("as given", ""));
  for (const [index, button] of buttons) select.append(new Option("by " + button.firstChild.textContent, index));
  select.addEventListener("change", () => {
    if (select.value === "") sort(null, "none");
    else sort(Number(select.value), first(heads[select.value]));
  });
  if (table.classList.contains("results")) table.parentElement.before(label);
}

if (matchMedia("screen and (max-width: 46rem)").matches) {
  for (const part of document.querySelectorAll("details.part")) part.open = false;
}
"""
