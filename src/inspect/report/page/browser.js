// Sessions and events of a chosen key.

/** Most events of a session that are drawn; the list has them all. */
const DRAWN_EVENTS = 2000;
/** Most kinds of events that have a line of their own. */
const DRAWN_KINDS = 14;

/** A key with its times summed up and its sessions cut out; made when the key is chosen. */
function unfolded(key) {
  const times = new Float64Array(key.event_ids.length);
  let time = key.first_micros;
  for (let event = 0; event < times.length; event += 1) {
    if (event > 0) time += key.steps[event - 1] * key.unit_micros;
    times[event] = time;
  }
  const spans = [];
  for (let run = 0, first = 0; run < key.runs.length; run += 2) {
    const events = key.runs[run];
    const last = first + events - 1;
    const opened = run === 0 && key.opened_micros != null ? key.opened_micros : times[first];
    spans.push({ first, last, isSession: key.runs[run + 1] === 1, opened, from: times[first], to: times[last] });
    first += events;
  }
  return { ...key, times, spans };
}

/** The sessions of a key on a strip for each day, as a picture. */
class Days {
  constructor(feed, choose) {
    this.dates = datesBetween(feed.from, feed.to);
    this.canvas = el("canvas", { role: "img", id: "days" });
    this.canvas.addEventListener("click", (event) => this.click(event, choose));
    new ResizeObserver(() => onNextFrame(() => this.draw())).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(key, chosen) {
    Object.assign(this, { key, chosen });
    const sessions = key.spans.filter((span) => span.isSession).length;
    this.canvas.setAttribute("aria-label",
      `Timeline of ${plural(sessions, "session")} of ${key.user}, ${key.product}: a line for each day, time of day in UTC from left to right. The list of sessions has the same.`);
    this.draw();
  }

  layout() {
    const width = this.canvas.clientWidth;
    const height = Math.max(3, Math.min(18, Math.floor(440 / this.dates.length)));
    return { width, height, left: 84, top: 20, inner: width - 84 - 24 };
  }

  draw() {
    if (!this.key || this.canvas.clientWidth === 0) return;
    const { width, height, left, top, inner } = this.layout();
    const total = top + this.dates.length * height + 6;
    const ratio = devicePixelRatio || 1;
    this.canvas.style.height = `${total}px`;
    this.canvas.width = width * ratio;
    this.canvas.height = total * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.font = "11.5px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.drawAxes(pen, colour);
    const start = Date.parse(this.dates[0]) * 1000;
    const day = 86400e6;
    // Where the last bar ended, from the start of all days: what would be drawn within it is not.
    let reached = -1;
    const bar = (from, to, least) => {
      for (let row = Math.floor((from - start) / day); row <= Math.floor((to - start) / day); row += 1) {
        if (row < 0 || row >= this.dates.length) continue;
        const begin = Math.max(0, (from - start) / day - row) * inner;
        const end = Math.max(begin + least, Math.min(1, (to - start) / day - row) * inner);
        if (row * inner + end <= reached) continue;
        pen.fillRect(left + begin, top + row * height + 1, end - begin, Math.max(1, height - 2));
        reached = row * inner + end;
      }
    };
    for (const [isSession, name, least] of [[false, "orange", 1], [true, "blue", 1.5]]) {
      pen.fillStyle = colour(name);
      reached = -1;
      for (const span of this.key.spans) if (span.isSession === isSession) bar(span.from, span.to, least);
    }
    reached = -1;
    if (this.chosen) {
      pen.fillStyle = colour("ink");
      bar(this.chosen.from, this.chosen.to, 3);
    }
  }

  drawAxes(pen, colour) {
    const { height, left, top, inner } = this.layout();
    const bottom = top + this.dates.length * height;
    for (let hour = 0; hour <= 24; hour += inner > 500 ? 3 : 6) {
      const x = left + (hour / 24) * inner;
      pen.fillStyle = colour("line");
      pen.fillRect(x, top, 1, bottom - top);
      pen.fillStyle = colour("muted");
      pen.textAlign = "center";
      pen.fillText(`${String(hour).padStart(2, "0")}:00`, x, 8);
    }
    pen.textAlign = "right";
    const step = Math.ceil(15 / height);
    this.dates.forEach((date, row) => {
      if (row % step === 0) pen.fillText(date, left - 10, top + (row + 0.5) * height);
    });
  }

  click(event, choose) {
    if (!this.key) return;
    const { height, left, top, inner } = this.layout();
    const row = Math.floor((event.offsetY - top) / height);
    if (row < 0 || row >= this.dates.length) return;
    const time = Date.parse(this.dates[row]) * 1000 + ((event.offsetX - left) / inner) * 86400e6;
    const spans = this.key.spans;
    const after = Math.max(0, Math.min(spans.length - 1, d3.bisector((span) => span.from).right(spans, time) - 1));
    const near = [after, after + 1].filter((index) => index < spans.length);
    const distance = (index) => Math.max(spans[index].from - time, time - spans[index].to, 0);
    choose(d3.least(near, distance));
  }
}

/** The events of one span, a line for each kind of them. */
function spanPlot(feed, key, span, width) {
  const first = Math.max(span.first, span.last - DRAWN_EVENTS + 1);
  const name = (event) => feed.browser.event_ids[key.event_ids[event]];
  let events = d3.range(first, span.last + 1).map((event) => ({
    event, name: name(event), time: new Date(key.times[event] / 1000), isAction: (key.marks[event] & 1) === 1, late: key.marks[event] >> 1,
  }));
  const kinds = d3.groupSort(events, (of) => -of.length, (event) => event.name);
  const shown = new Set(kinds.slice(0, DRAWN_KINDS));
  events = events.map((event) => ({ ...event, line: shown.has(event.name) ? event.name : "others" }));
  const lines = [...shown, ...(kinds.length > shown.size ? ["others"] : [])];
  const [from, to] = [span.from / 1000, span.to / 1000];
  const spare = from === to ? 1000 : 0;
  return Plot.plot({
    width, height: lines.length * 26 + 54, marginLeft: 112, marginRight: 32, marginTop: 8, marginBottom: 38,
    x: { type: "utc", domain: [new Date(from - spare), new Date(to + spare)], label: "time of the event (UTC)", ticks: Math.max(2, Math.floor(width / 140)), labelAnchor: "center", tickFormat: clock(to - from) },
    y: { type: "band", domain: lines, label: null, tickSize: 0, tickFormat: (line) => cut(line, 17) },
    marks: [
      Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.tickX(events, { x: "time", y: "line", stroke: (event) => (event.isAction ? "var(--blue)" : "var(--grey)"), strokeWidth: 2, inset: 4 }),
      Plot.tip(events, Plot.pointerX({ x: "time", y: "line", title: (event) => `${event.name}\n${instant(key.times[event.event])}${event.isAction ? "\nuser action" : ""}${event.late ? `\narrived ${delayName(event.late)}` : ""}` })),
    ],
  });
}

/** How times are told on an axis that spans so many milliseconds. */
function clock(span) {
  if (span < 5000) return d3.utcFormat("%H:%M:%S.%L");
  if (span < 600000) return d3.utcFormat("%H:%M:%S");
  return d3.utcFormat(span < 86400000 ? "%H:%M" : "%m-%d %H:%M");
}

function spanName(span) {
  return span.isSession ? "session" : "without a session";
}

/** The card in which keys are looked for and their sessions looked at. */
function browserCard(feed) {
  const { browser } = feed;
  const names = browser.keys.map((key) => `${key.user} ${key.product}`.toLowerCase());
  let found = d3.range(names.length);
  let key = null;
  let span = null;

  const status = el("p", { class: "heard", role: "status" });
  const search = el("input", {
    id: "search", type: "search", role: "combobox", autocomplete: "off", spellcheck: "false",
    "aria-expanded": "true", "aria-controls": "keys", "aria-autocomplete": "list", placeholder: "user_id or product_code",
  });
  const keyRow = (index) => {
    const of = browser.keys[found[index]];
    return [el("span", { class: "grow", title: `${of.user} · ${of.product}` }, of.user, el("span", { class: "quiet" }, ` · ${of.product}`)),
      el("span", { class: "quiet right" }, short.format(of.events))];
  };
  const keys = new List({ id: "keys", name: "Keys", tall: true, row: keyRow, choose: (index) => chooseKey(found[index]), follows: search });
  const at = (index) => key.spans[key.spans.length - 1 - index];
  const spanRow = (index) => {
    const of = at(index);
    return [el("span", { class: of.isSession ? "grow" : "grow quiet" }, instant(of.from).slice(0, 19)),
      el("span", { class: "quiet right" }, of.isSession ? length((of.to - of.from) / 1e6) : "no session"),
      el("span", { class: "right" }, count.format(of.last - of.first + 1))];
  };
  const spans = new List({ id: "spans", name: "Sessions, the newest first: start, length, events", row: spanRow, choose: (index) => chooseSpan(at(index)) });
  const eventRow = (index) => {
    const event = span.first + index;
    const gap = event > 0 ? length((key.times[event] - key.times[event - 1]) / 1e6) : "";
    const late = key.marks[event] >> 1;
    return [el("span", { class: "mono" }, instant(key.times[event]).slice(11)), el("span", { class: "quiet gap" }, gap),
      el("span", { class: "grow" }, browser.event_ids[key.event_ids[event]]),
      late ? el("span", { class: "quiet" }, delayName(late)) : null,
      key.marks[event] & 1 ? el("span", { style: "color: var(--blue)" }, "● user action") : null];
  };
  const events = new List({ id: "events", name: "Events: time, gap, event, user action", row: eventRow, choose: () => {} });
  const days = new Days(feed, (index) => {
    const row = key.spans.length - 1 - index;
    spans.open(row);
  });

  const heading = el("h3", { id: "chosen-key" });
  const about = el("p", { class: "muted" });
  const spanHeading = el("h3", { class: "list-title" });
  const spanNote = el("p", { class: "hint" });
  const box = el("div", { class: "plot" });
  const explain = el("p", { class: "hint" });

  function chooseKey(index) {
    key = unfolded(browser.keys[index]);
    const sessions = key.spans.filter((of) => of.isSession).length;
    heading.textContent = `${key.user} · ${key.product}`;
    const held = key.events > key.times.length ? `; embedded are the newest ${count.format(key.times.length)} of ${plural(key.events, "event")}` : `, ${plural(key.events, "event")}`;
    about.textContent = `${plural(sessions, "session")}${held}, from ${instant(key.times[0]).slice(0, 19)} to ${instant(key.times.at(-1)).slice(0, 19)} UTC.`;
    status.textContent = `${heading.textContent}: ${about.textContent}`;
    spans.reset(key.spans.length, { chosen: 0 });
    chooseSpan(at(0));
  }

  function chooseSpan(of) {
    span = of;
    days.show(key, span);
    spanHeading.textContent = `${span.isSession ? "Session" : "Events without a session"} from ${instant(span.opened)} UTC`;
    const number = span.last - span.first + 1;
    const before = span.opened < span.from ? " It began before the first event that is shown." : "";
    const part = number > DRAWN_EVENTS ? ` The newest ${count.format(DRAWN_EVENTS)} are drawn.` : "";
    spanNote.textContent = `${plural(number, "event")} in ${length((span.to - span.from) / 1e6)}.${before}${part}`;
    events.reset(number);
    const draw = (width) => {
      const svg = spanPlot(feed, key, span, width);
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", `Events of this ${spanName(span)} by time. The list of events has the same.`);
      return svg;
    };
    drawn.set(box, { width: box.clientWidth, draw });
    widths.observe(box);
    box.replaceChildren(draw(Math.max(280, box.clientWidth)));
  }

  function lookFor() {
    const wanted = search.value.trim().toLowerCase();
    found = d3.range(names.length).filter((index) => names[index].includes(wanted));
    keys.reset(found.length, { nothing: "No embedded key has this in its name." });
    status.textContent = `${plural(found.length, "key")} found.`;
  }
  search.addEventListener("input", lookFor);
  search.addEventListener("keydown", (event) => keys.key(event));

  const card = el("div", { class: "card" }, el("div", { class: "browser" },
    el("div", {}, el("label", { for: "search" }, "Find a key"), search, keys.box, el("p", { class: "hint" }, "Arrow keys move, Enter opens.")),
    el("div", {}, heading, about, days.canvas, legend([["session", "var(--blue)"], ["events without a session", "var(--orange)"], ["chosen", "var(--ink)"]]),
      el("div", { class: "detail", style: "margin-top: 1rem" },
        el("div", {}, el("p", { class: "list-title" }, "Sessions, newest first: start (UTC), length, events"), spans.box),
        el("div", {}, spanHeading, spanNote, box, el("p", { class: "list-title" }, "Events: time (UTC), gap, event"), events.box, explain)),
      status)));
  return {
    card,
    // Once it is in the document and has a width.
    start() {
      lookFor();
      if (names.length) keys.open(0);
    },
  };
}
