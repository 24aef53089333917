// Elements, numbers and times as text.

const count = new Intl.NumberFormat("en-US");
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** An element with attributes and children; text is never read as markup. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Rows of a relation that is held as one array per column. */
function rows(relation) {
  const names = Object.keys(relation);
  if (names.length === 0) return [];
  return relation[names[0]].map((_, row) =>
    Object.fromEntries(names.map((name) => [name, relation[name][row]])));
}

function share(part, whole) {
  if (!whole) return "–";
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.01) return "< 0.01 %";
  return `${percent.toFixed(percent < 1 ? 2 : 1)} %`;
}

function plural(number, word, words = `${word}s`) {
  return `${count.format(number)} ${number === 1 ? word : words}`;
}

/** A length in seconds as its two largest units. */
function length(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, unit] = units[first];
  const [nextSize, nextUnit] = units[first + 1] ?? [1, "s"];
  let whole = Math.floor(seconds / size);
  let rest = Math.round((seconds - whole * size) / nextSize);
  if (rest * nextSize === size) [whole, rest] = [whole + 1, 0];
  return rest ? `${whole} ${unit} ${rest} ${nextUnit}` : `${whole} ${unit}`;
}

/** An instant in microseconds since 1970 as text, with as much of a fraction as there is. */
function instant(micros) {
  const seconds = Math.floor(micros / 1e6);
  const fraction = micros - seconds * 1e6;
  const text = new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");
  if (fraction === 0) return text;
  const digits = String(fraction).padStart(6, "0");
  return `${text}.${digits.endsWith("000") ? digits.slice(0, 3) : digits}`;
}

/** A text such as 2026-01-01T10:00:00.123456Z to the second. */
const seconds = (text) => text.slice(0, 19).replace("T", " ");

/** Dates from the first to the last, as 2026-01-01. */
function datesBetween(from, to) {
  const day = 86400000;
  const dates = [];
  for (let at = Date.parse(from); at <= Date.parse(to); at += day) {
    dates.push(new Date(at).toISOString().slice(0, 10));
  }
  return dates;
}

const daysBetween = (from, to) => Math.round((Date.parse(to) - Date.parse(from)) / 86400000);
