// A card with a plot, its legend, and the same numbers as a table.

/** Most rows of a table beside a plot. */
const TABLE_ROWS = 1000;

/** What is drawn again when its width changes. */
const drawn = new Map();
const widths = new ResizeObserver((entries) => onNextFrame(() => {
  for (const { target } of entries) {
    const plot = drawn.get(target);
    const width = Math.round(target.clientWidth);
    if (plot && width > 0 && width !== plot.width) {
      plot.width = width;
      target.replaceChildren(plot.draw(width));
    }
  }
}));

/** What an observer of sizes does must not change sizes within the same frame. */
function onNextFrame(work) {
  requestAnimationFrame(work);
}

function forgetPlots() {
  for (const target of drawn.keys()) widths.unobserve(target);
  drawn.clear();
}

function table({ title, columns, rows }) {
  const shown = rows.slice(0, TABLE_ROWS);
  const side = (column) => (column.number ? "number" : column.wide ? "wide" : null);
  const head = el("tr", {}, ...columns.map((column) => el("th", { scope: "col", class: side(column) }, column.name)));
  const text = (value) => (value == null ? "" : typeof value === "number" ? count.format(value) : String(value));
  const body = shown.map((row) =>
    el("tr", {}, ...row.map((value, at) => el("td", { class: side(columns[at]) }, text(value)))));
  const cut = rows.length > shown.length ? ` (the first ${count.format(shown.length)} of ${plural(rows.length, "row")})` : "";
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${title}` },
    el("table", {}, el("caption", {}, title + cut), el("thead", {}, head), el("tbody", {}, ...body)));
}

/** A table that is made when it is opened. */
function tableOnDemand(described, summary = "As a table") {
  const details = el("details", {}, el("summary", {}, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(table(described()));
  });
  return details;
}

/**
 * A card: `draw(width)` gives an SVG of that width, `table()` the columns and rows of its numbers.
 * `label` says in a sentence what can be seen.
 */
function figure({ title, note, size = "", label, legend, draw, table: described, nothing }) {
  const card = el("figure", { class: nothing ? "card" : `card ${size}` }, el("h3", {}, title), note ? el("p", {}, note) : null);
  if (nothing) {
    card.append(el("p", { class: "nothing muted" }, nothing));
    return card;
  }
  if (legend) card.append(legend);
  const box = el("div", { class: "plot" });
  const labelled = (width) => {
    const svg = draw(width);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    return svg;
  };
  drawn.set(box, { width: 0, draw: labelled });
  widths.observe(box);
  card.append(box, tableOnDemand(() => ({ title, ...described() })));
  return card;
}

function legend(entries) {
  return el("ul", { class: "legend" }, ...entries.map(([name, colour]) =>
    el("li", {}, el("i", { style: `background: ${colour}`, "aria-hidden": "true" }), name)));
}

/** The dates of an axis that have room for a label. */
function datesWithRoom(dates, width, room = 52) {
  const step = Math.ceil(dates.length / Math.max(1, Math.floor(width / room)));
  return dates.filter((_, at) => at % step === 0);
}

/** 01-31, with the year where there is more than one. */
function dateLabel(dates) {
  const years = new Set(dates.map((date) => date.slice(0, 4)));
  return (date) => (years.size > 1 ? date : date.slice(5));
}

/** A scale of dates along x, thinned to what has room. */
function dateAxis(dates, width, label) {
  const years = new Set(dates.map((date) => date.slice(0, 4))).size > 1;
  return {
    type: "band", domain: dates, label, ticks: datesWithRoom(dates, width, years ? 84 : 52),
    tickFormat: dateLabel(dates), tickSize: 0, padding: dates.length > 100 ? 0 : 0.15,
  };
}

/** An axis of lengths in seconds; an automatic one labels only the powers of ten. */
const lengthAxis = (domain, label) => Plot.axisX(
  [1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800].filter((tick) => tick >= domain[0] && tick <= domain[1]),
  { text: length, label, labelAnchor: "center", tickSize: 4 });

/** The bounds in seconds of a bin of lengths: a half of an octave each, below 1 s all in one. */
function boundsOf(bin) {
  return bin < 0 ? [0.5, 1] : [2 ** (bin / 2), 2 ** ((bin + 1) / 2)];
}

function binName(bin) {
  const [from, to] = boundsOf(bin);
  return bin < 0 ? "below 1 s" : `${length(from)} to ${length(to)}`;
}

/** Marks of the timeouts in force, in seconds. */
function timeoutMarks(rules) {
  const timeouts = [...new Set(rules.map((rule) => rule.timeout_seconds))];
  return [
    Plot.ruleX(timeouts, { stroke: "var(--ink)", strokeWidth: 1.5, strokeDasharray: "5 4" }),
    Plot.text(timeouts, {
      x: (timeout) => timeout, frameAnchor: "top", dy: -13, text: (timeout) => `timeout ${length(timeout)}`,
      fill: "var(--ink)", fontWeight: 600,
    }),
  ];
}
