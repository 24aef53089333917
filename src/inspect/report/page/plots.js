// The plots of a feed.

function runsFigure(feed) {
  const stages = rows(feed.runs);
  const bars = new Map();
  for (const stage of stages) {
    const bar = `${stage.run_id} ${stage.arrival_date ?? ""}`;
    if (!bars.has(bar)) bars.set(bar, { bar, date: stage.arrival_date ?? "all", failed: false, seconds: 0 });
    bars.get(bar).seconds += stage.seconds;
    bars.get(bar).failed ||= stage.outcome === "failed" || stage.outcome === "interrupted";
    stage.bar = bar;
  }
  const shown = [...bars.values()].slice(-60);
  const isShown = new Set(shown.map(({ bar }) => bar));
  const label = new Map(shown.map(({ bar, date }) => [bar, date]));
  const names = ["ingest", "build", "sessions", "retention"];
  const kinds = [...names, "other"];
  const colours = ["var(--blue)", "var(--orange)", "var(--pink)", "var(--green)", "var(--grey)"];
  const kind = (stage) => (names.includes(stage) ? stage : "other");
  const failed = shown.filter((bar) => bar.failed);
  const used = kinds.filter((name) => stages.some((stage) => kind(stage.stage) === name));
  const runs = new Set(shown.map(({ bar }) => bar.split(" ")[0])).size;
  return figure({
    title: "Duration of runs",
    note: "Seconds per stage; a bar is one run of one arrival date, the newest on the right.",
    size: "two-thirds",
    label: `Stacked bars: ${plural(shown.length, "arrival date")} in ${plural(runs, "run")}, the longest took ${length(d3.max(shown, (bar) => bar.seconds) ?? 0)}; ${failed.length} failed.`,
    legend: legend([...used.map((name) => [name, colours[kinds.indexOf(name)]]), ...(failed.length ? [["✕ failed or stopped", "var(--bad)"]] : [])]),
    nothing: stages.length ? null : "No run is recorded.",
    draw: (width) => Plot.plot({
      width, height: 250, marginLeft: 48, marginBottom: 36,
      x: {
        type: "band", domain: shown.map(({ bar }) => bar), label: "arrival date", tickSize: 0, padding: 0.2,
        ticks: datesWithRoom(shown.map(({ bar }) => bar), width), tickFormat: (bar) => (label.get(bar) ?? "").slice(5) || "all",
      },
      y: { label: "seconds", grid: true, ticks: 5, nice: true },
      marks: [
        Plot.barY(stages.filter((stage) => isShown.has(stage.bar)), {
          x: "bar", y: "seconds", fill: (stage) => colours[kinds.indexOf(kind(stage.stage))],
          order: (stage) => kinds.indexOf(kind(stage.stage)),
          channels: {
            stage: "stage", outcome: "outcome", started: { value: (stage) => seconds(stage.started), label: "started" },
            read: { value: "rows_read", label: "rows read" }, changed: { value: "rows_changed", label: "rows changed" },
          },
          tip: { format: { x: (bar) => label.get(bar), fill: false, y: (value) => `${value.toFixed(2)} s` } },
        }),
        Plot.text(failed, { x: "bar", y: "seconds", text: () => "✕", dy: -9, fill: "var(--bad)", fontWeight: 700, fontSize: 14 }),
        Plot.ruleY([0]),
      ],
    }),
    table: () => ({
      columns: [
        { name: "started (UTC)" }, { name: "arrival date" }, { name: "stage" }, { name: "outcome" },
        { name: "seconds", number: true }, { name: "read", number: true }, { name: "new", number: true },
        { name: "identical", number: true }, { name: "conflicting", number: true },
        { name: "quarantined", number: true }, { name: "changed", number: true }, { name: "error", wide: true },
      ],
      rows: stages.toReversed().map((stage) => [
        seconds(stage.started), stage.arrival_date, stage.stage, stage.outcome, stage.seconds.toFixed(2), stage.rows_read,
        stage.rows_new, stage.rows_identical_duplicates, stage.rows_conflicting_duplicates, stage.rows_quarantined,
        stage.rows_changed, stage.error,
      ]),
    }),
  });
}

function arrivalsFigure(feed) {
  const cells = rows(feed.arrivals);
  const eventDates = datesBetween(feed.from, feed.to);
  const arrivalDates = [...new Set(cells.map((cell) => cell.arrival_date))].sort();
  const most = d3.max(cells, (cell) => cell.events) ?? 1;
  const late = d3.sum(cells, (cell) => (cell.arrival_date > cell.event_date ? cell.events : 0));
  const all = d3.sum(cells, (cell) => cell.events);
  const opacities = [0.16, 1];
  const key = el("ul", { class: "legend" }, el("li", {}, "1 event",
    el("i", { class: "scale", "aria-hidden": "true", style: `background: linear-gradient(90deg, color-mix(in srgb, var(--blue) 16%, transparent), var(--blue))` }),
    `${count.format(most)} events, logarithmic`));
  return figure({
    title: "Arrival date and event date",
    note: "Events in ODS by the date that first brought them. On the diagonal: on time; above it: late.",
    size: "two-thirds",
    label: `Heat map of ${plural(all, "event")} by event date and arrival date; ${share(late, all)} arrived after their event date.`,
    legend: key,
    draw: (width) => Plot.plot({
      width, height: Math.min(560, Math.max(150, arrivalDates.length * 20)) + 60, marginLeft: dateLabel(arrivalDates)(arrivalDates[0] ?? "").length > 5 ? 92 : 58, marginBottom: 36,
      x: { ...dateAxis(eventDates, width, "event date"), padding: 0.06 },
      y: {
        type: "band", domain: arrivalDates.toReversed(), label: "arrival date", labelAnchor: "top", labelOffset: 44, tickSize: 0, padding: 0.06,
        ticks: datesWithRoom(arrivalDates, Math.min(560, arrivalDates.length * 20), 18), tickFormat: dateLabel(arrivalDates),
      },
      opacity: { type: "log", domain: [1, Math.max(2, most)], range: opacities },
      marks: [
        Plot.cell(cells, {
          x: "event_date", y: "arrival_date", fill: "var(--blue)", fillOpacity: "events", inset: 0, rx: 2,
          channels: {
            events: { value: "events", label: "events" },
            late: { value: (cell) => delayName(daysBetween(cell.event_date, cell.arrival_date)), label: "came" },
          },
          tip: { format: { fillOpacity: false, fill: false, events: (value) => count.format(value) } },
        }),
      ],
    }),
    table: () => ({
      columns: [
        { name: "arrival date" }, { name: "event date" }, { name: "events", number: true },
        { name: "user actions", number: true }, { name: "without a session", number: true },
      ],
      rows: cells.map((cell) => [cell.arrival_date, cell.event_date, cell.events, cell.user_actions, cell.events_without_session]),
    }),
  });
}

function delayName(days) {
  if (days === 0) return "on the day";
  return `${plural(Math.abs(days), "day")} ${days > 0 ? "late" : "early"}`;
}

function delaysFigure(feed) {
  const byDelay = d3.rollups(rows(feed.arrivals), (cells) => d3.sum(cells, (cell) => cell.events),
    (cell) => Math.min(31, daysBetween(cell.event_date, cell.arrival_date)));
  const delays = d3.sort(byDelay, ([days]) => days).map(([days, events]) =>
    ({ name: days === 31 ? "31 days late or more" : delayName(days), events }));
  const all = d3.sum(delays, (delay) => delay.events);
  return figure({
    title: "How late events come",
    note: "Share of the events in ODS, by days from event date to arrival date.",
    size: "third",
    label: `Bars: ${delays.map((delay) => `${delay.name} ${share(delay.events, all)}`).join(", ")}.`,
    draw: (width) => shareBars(delays, all, width, 108),
    table: () => ({
      columns: [{ name: "came" }, { name: "events", number: true }, { name: "share", number: true }],
      rows: delays.map((delay) => [delay.name, delay.events, share(delay.events, all)]),
    }),
  });
}

/** Horizontal bars of `events` by `name`, each with its share of all. */
function shareBars(bars, all, width, marginLeft, { what = ["event", "events"], colour = () => "var(--blue)" } = {}) {
  return Plot.plot({
    width, height: bars.length * 26 + 46, marginLeft, marginRight: 62, marginBottom: 34, marginTop: 4,
    x: { label: what[1], ticks: Math.max(2, Math.floor(width / 130)), grid: true, tickFormat: short.format, labelAnchor: "center" },
    y: { type: "band", domain: bars.map((bar) => bar.name), label: null, tickSize: 0, padding: 0.28, tickFormat: (name) => cut(name, Math.floor(marginLeft / 6.4)) },
    marks: [
      Plot.barX(bars, {
        x: "events", y: "name", fill: colour, rx: 2, title: (bar) => `${bar.name}: ${plural(bar.events, ...what)}, ${share(bar.events, all)}`, tip: true,
      }),
      Plot.text(bars, { x: "events", y: "name", text: (bar) => share(bar.events, all), textAnchor: "start", dx: 6, fill: "var(--ink)" }),
      Plot.ruleX([0]),
    ],
  });
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);

/** What happened on each event date of the range. */
function daysOf(feed) {
  const cells = d3.group(rows(feed.arrivals), (cell) => cell.event_date);
  const sessions = d3.rollup(rows(feed.session_lengths), (bins) => d3.sum(bins, (bin) => bin.sessions), (bin) => bin.event_date);
  return datesBetween(feed.from, feed.to).map((date) => {
    const of = cells.get(date) ?? [];
    const without = d3.sum(of, (cell) => cell.events_without_session);
    const events = d3.sum(of, (cell) => cell.events);
    return { date, events, without, within: events - without, actions: d3.sum(of, (cell) => cell.user_actions), sessions: sessions.get(date) ?? 0 };
  });
}

function eventsFigure(days) {
  const all = d3.sum(days, (day) => day.events);
  const parts = days.flatMap((day) => [
    { date: day.date, kind: "in a session", events: day.within },
    { date: day.date, kind: "without a session", events: day.without },
  ]);
  const colour = (part) => (part.kind === "in a session" ? "var(--blue)" : "var(--orange)");
  return figure({
    title: "Events per day",
    note: "By event date.",
    size: "half",
    label: `Stacked bars of ${plural(all, "event")} on ${plural(days.length, "date")}.`,
    legend: legend([["in a session", "var(--blue)"], ["without a session", "var(--orange)"]]),
    draw: (width) => Plot.plot({
      width, height: 220, marginLeft: 52, marginBottom: 36,
      x: dateAxis(days.map((day) => day.date), width, "event date"),
      y: { label: "events", grid: true, ticks: 5, tickFormat: short.format },
      marks: [
        Plot.barY(parts, { x: "date", y: "events", fill: colour, channels: { kind: { value: "kind", label: "" } }, tip: { format: { fill: false, x: true, y: (value) => count.format(value) } } }),
        Plot.ruleY([0]),
      ],
    }),
    table: () => daysTable(days),
  });
}

function sessionsFigure(days) {
  const all = d3.sum(days, (day) => day.sessions);
  return figure({
    title: "Sessions per day",
    note: "By the event date on which they start.",
    size: "half",
    label: `Bars of ${plural(all, "session")} on ${plural(days.length, "date")}.`,
    draw: (width) => Plot.plot({
      width, height: 246, marginLeft: 52, marginBottom: 36,
      x: dateAxis(days.map((day) => day.date), width, "event date"),
      y: { label: "sessions", grid: true, ticks: 5, tickFormat: short.format },
      marks: [
        Plot.barY(days, { x: "date", y: "sessions", fill: "var(--green)", tip: { format: { y: (value) => count.format(value) } } }),
        Plot.ruleY([0]),
      ],
    }),
    table: () => daysTable(days),
  });
}

function emptyShareFigure(days) {
  const withEvents = days.filter((day) => day.events > 0);
  const all = d3.sum(days, (day) => day.events);
  const without = d3.sum(days, (day) => day.without);
  const percent = (day) => (100 * day.without) / day.events;
  return figure({
    title: "Share of events without a session",
    note: "Events after a break before anything opens a session; they are kept, with an empty session.",
    label: `Line by event date; ${share(without, all)} of all events are without a session.`,
    draw: (width) => Plot.plot({
      width, height: 170, marginLeft: 52, marginBottom: 36,
      x: { ...dateAxis(days.map((day) => day.date), width, "event date"), type: "point" },
      y: { label: "% of events", grid: true, ticks: 4, domain: [0, Math.min(100, Math.max(1, 1.15 * (d3.max(withEvents, percent) ?? 1)))] },
      marks: [
        Plot.ruleY([0]),
        Plot.ruleY([(100 * without) / Math.max(1, all)], { stroke: "var(--muted)", strokeDasharray: "2 3" }),
        Plot.lineY(withEvents, { x: "date", y: percent, stroke: "var(--orange)", strokeWidth: 2 }),
        Plot.dot(withEvents, { x: "date", y: percent, fill: "var(--orange)", r: days.length > 100 ? 2 : 3.5, tip: { format: { y: (value) => `${value.toFixed(1)} %` } } }),
      ],
    }),
    table: () => daysTable(days),
  });
}

function daysTable(days) {
  return {
    columns: [
      { name: "event date" }, { name: "events", number: true }, { name: "user actions", number: true },
      { name: "without a session", number: true }, { name: "share", number: true }, { name: "sessions", number: true },
    ],
    rows: days.map((day) => [day.date, day.events, day.actions, day.without, share(day.without, day.events), day.sessions]),
  };
}
