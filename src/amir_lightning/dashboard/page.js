"use strict";
// Everything that is shown comes from the page itself; text is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const filters = document.getElementById("filters");
const rows = [...document.querySelectorAll("#table tbody tr")];
const dragmode = matchMedia("(pointer: fine)").matches ? "zoom" : false; // a finger scrolls the page
const layout = (figure) => ({ ...structuredClone(figure.layout), dragmode });
const options = { responsive: true, displaylogo: false, displayModeBar: false };

function sort(table, column, descending) {
  const value = (row) => {
    const cell = row.cells[column];
    const text = cell ? cell.dataset.value ?? cell.textContent.trim() : "";
    return text !== "" && !isNaN(text) ? Number(text) : text;
  };
  const order = (a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === ""); // what is missing comes last
    const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return descending ? -sign : sign;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(order));
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

document.querySelectorAll("table.sortable thead button").forEach((button) => {
  button.addEventListener("click", () => {
    const cell = button.closest("th");
    const first = cell.classList.contains("number"); // numbers start with the largest
    const descending = cell.hasAttribute("aria-sort") ? cell.getAttribute("aria-sort") === "ascending" : first;
    sort(button.closest("table"), cell.cellIndex, descending);
  });
});

function apply() {
  const chosen = Object.fromEntries(new FormData(filters));
  const words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = new Set();
  rows.forEach((row) => {
    const typed = [...row.querySelectorAll(".settings span")].map((setting) => setting.title);
    const text = [row.textContent, ...typed].join(" ").toLowerCase();
    const kept = words.every((word) => text.includes(word))
      && (!chosen.task || JSON.parse(row.dataset.tasks).includes(chosen.task))
      && ["network", "scale", "source", "status"].every((key) => !chosen[key] || row.dataset[key] === chosen[key]);
    row.hidden = !kept;
    if (kept) shown.add(Number(row.dataset.index));
    row.querySelectorAll("td[data-task]").forEach((cell) => {
      cell.textContent = cell.getAttribute(`data-${chosen.metric}-text`);
      cell.dataset.value = cell.getAttribute(`data-${chosen.metric}`);
    });
  });
  document.querySelectorAll("#table [data-task]").forEach((element) => {
    element.hidden = Boolean(chosen.task) && element.dataset.task !== chosen.task;
  });
  const sorted = document.querySelector("#table th[aria-sort]"); // the values below it may be others now
  if (sorted) sort(document.getElementById("table"), sorted.cellIndex, sorted.getAttribute("aria-sort") === "descending");
  document.getElementById("count").textContent = `${shown.size} of ${rows.length} runs`;
  const colours = new Map();
  document.querySelectorAll(".chart.comparison").forEach((chart) => {
    const figure = data.comparisons[chosen.metric][chart.dataset.chart];
    const traces = figure.data.filter((trace) => shown.has(trace.meta));
    const frame = chart.closest("figure");
    frame.hidden = !traces.length || Boolean(chosen.task) && frame.dataset.task !== chosen.task;
    if (frame.hidden) return;
    traces.forEach((trace) => colours.set(trace.name, trace.line.color));
    Plotly.react(chart, traces, layout(figure), options);
  });
  explain(document.getElementById("legend"), [...colours].sort());
}

// Legends stand outside the charts, which keep their size however many lines they have.
function explain(legend, colours) {
  legend.replaceChildren(...colours.map(([name, colour]) => {
    const entry = document.createElement("span");
    entry.textContent = name;
    entry.style.setProperty("--colour", colour);
    return entry;
  }));
}

function open() {
  const article = document.getElementById(location.hash.slice(1));
  if (!article || article.tagName !== "ARTICLE") return;
  const figures = data.details[article.id];
  const select = article.querySelector("select.groups");
  const chart = article.querySelector(".chart");
  const draw = () => {
    const figure = figures[select.value];
    explain(article.querySelector(".legend"), figure.data.map((trace) => [trace.name, trace.line.color]));
    Plotly.react(chart, figure.data, layout(figure), options);
  };
  if (!select.options.length) {
    Object.keys(figures).forEach((name) => select.add(new Option(name)));
    select.addEventListener("change", draw);
  }
  const any = select.options.length > 0;
  select.parentElement.hidden = chart.hidden = !any;
  if (any) draw();
  article.scrollIntoView();
}

document.querySelectorAll(".gallery img").forEach((image) => {
  image.addEventListener("click", () => image.parentElement.classList.toggle("large"));
});
filters.addEventListener("input", apply);
filters.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", open);
apply();
open();
