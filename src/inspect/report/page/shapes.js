// Distributions: lengths, gaps, quarantine and keys.

/** The bin in which the middle one of all lies. */
function medianBin(bins, weight) {
  const half = d3.sum(bins, weight) / 2;
  let seen = 0;
  for (const bin of d3.sort(bins, (bin) => bin.bin)) {
    seen += weight(bin);
    if (seen >= half) return bin.bin;
  }
  return null;
}

function spanOf(bins, rules) {
  const timeouts = rules.map((rule) => rule.timeout_seconds);
  const [least, most] = [d3.min(bins, (bin) => boundsOf(bin.bin)[0]), d3.max(bins, (bin) => boundsOf(bin.bin)[1])];
  return [Math.min(least, ...timeouts) * 0.9, Math.max(most, ...timeouts) * 1.1];
}

function lengthsFigure(feed) {
  const bins = d3.rollups(rows(feed.session_lengths), (of) => d3.sum(of, (bin) => bin.sessions), (bin) => bin.bin)
    .map(([bin, sessions]) => ({ bin, sessions }));
  const all = d3.sum(bins, (bin) => bin.sessions);
  const mean = d3.sum(rows(feed.session_lengths), (bin) => bin.length_ms) / 1000 / all;
  const median = medianBin(bins, (bin) => bin.sessions);
  const domain = all ? spanOf(bins, feed.rules) : [1, 2];
  return figure({
    title: "Length of sessions",
    note: all ? `From first to last event, in steps of half an octave. Mean ${length(mean)}; the median lies in ${binName(median)}.` : null,
    size: "half",
    nothing: all ? null : "No session starts on these dates.",
    label: `Histogram of ${plural(all, "session")} by length, the median in ${median == null ? "none" : binName(median)}.`,
    draw: (width) => Plot.plot({
      width, height: 260, marginLeft: 52, marginTop: 30, marginBottom: 40,
      x: { type: "log", domain },
      y: { label: "sessions", grid: true, ticks: 5, tickFormat: short.format },
      marks: [
        Plot.rectY(bins, {
          x1: (bin) => boundsOf(bin.bin)[0], x2: (bin) => boundsOf(bin.bin)[1], y: "sessions", fill: "var(--green)", insetLeft: 1,
          title: (bin) => `${binName(bin.bin)}: ${plural(bin.sessions, "session")}, ${share(bin.sessions, all)}`, tip: true,
        }),
        ...timeoutMarks(feed.rules),
        lengthAxis(domain, "length"),
        Plot.ruleY([0]),
      ],
    }),
    table: () => ({
      columns: [{ name: "length" }, { name: "sessions", number: true }, { name: "share", number: true }],
      rows: d3.sort(bins, (bin) => bin.bin).map((bin) => [binName(bin.bin), bin.sessions, share(bin.sessions, all)]),
    }),
  });
}

const GAPS = [
  ["within", "inside a session", "var(--blue)"],
  ["opens", "before an event that opens one", "var(--green)"],
  ["without", "before an event without one", "var(--orange)"],
];

function gapsFigure(feed) {
  const gaps = rows(feed.gaps);
  const all = d3.sum(gaps, (bin) => bin.gaps);
  const domain = all ? spanOf(gaps, feed.rules) : [1, 2];
  const order = GAPS.map(([kind]) => kind);
  const name = (kind) => GAPS[order.indexOf(kind)][1];
  const inside = d3.sum(gaps, (bin) => (bin.kind === "within" ? bin.gaps : 0));
  return figure({
    title: "Gaps between events of a key",
    note: "From an event to the key’s previous one, as far as that lies within lookback_days. A gap longer than the timeout is a break.",
    size: "half",
    nothing: all ? null : "No key has two events on these dates.",
    label: `Histogram of ${plural(all, "gap")} by length; ${share(inside, all)} lie inside a session.`,
    legend: legend(GAPS.map(([, text, colour]) => [text, colour])),
    draw: (width) => Plot.plot({
      width, height: 234, marginLeft: 52, marginTop: 30, marginBottom: 40,
      x: { type: "log", domain },
      y: { label: "gaps", grid: true, ticks: 5, tickFormat: short.format },
      marks: [
        Plot.rectY(gaps, Plot.stackY({ order: (bin) => order.indexOf(bin.kind) }, {
          x1: (bin) => boundsOf(bin.bin)[0], x2: (bin) => boundsOf(bin.bin)[1], y: "gaps", z: "kind", insetLeft: 1,
          fill: (bin) => GAPS[order.indexOf(bin.kind)][2],
          title: (bin) => `${binName(bin.bin)}, ${name(bin.kind)}: ${plural(bin.gaps, "gap")}, ${share(bin.gaps, all)}`, tip: true,
        })),
        ...timeoutMarks(feed.rules),
        lengthAxis(domain, "gap"),
        Plot.ruleY([0]),
      ],
    }),
    table: () => ({
      columns: [{ name: "gap" }, { name: "where" }, { name: "gaps", number: true }, { name: "share", number: true }],
      rows: d3.sort(gaps, (bin) => bin.bin).map((bin) => [binName(bin.bin), name(bin.kind), bin.gaps, share(bin.gaps, all)]),
    }),
  });
}

function quarantineFigure(feed) {
  const entries = rows(feed.quarantine);
  const all = d3.sum(entries, (entry) => entry.entries);
  const reasons = d3.sort(
    d3.rollups(entries, (of) => d3.sum(of, (entry) => entry.entries), (entry) => entry.reason, (entry) => entry.stage)
      .flatMap(([reason, stages]) => stages.map(([stage, events]) => ({ name: `${reason} (${stage})`, stage, events }))),
    (reason) => -reason.events);
  const shown = reasons.slice(0, 20);
  return figure({
    title: "Quarantine by reason",
    note: "Rows and files that were refused, of all arrival dates that are still kept. Refused by the ingest: not in raw; by the build: in raw, not in ODS.",
    nothing: all ? null : "Nothing is in quarantine.",
    label: `Bars: ${shown.map((reason) => `${reason.name} ${plural(reason.events, "entry", "entries")}`).join(", ")}.`,
    legend: legend([["refused by the build", "var(--orange)"], ["refused by the ingest", "var(--pink)"]]),
    draw: (width) => shareBars(shown, all, width, Math.min(220, width / 3), {
      what: ["entry", "entries"], colour: (reason) => (reason.stage === "build" ? "var(--orange)" : "var(--pink)"),
    }),
    table: () => ({
      columns: [{ name: "arrival date" }, { name: "stage" }, { name: "reason" }, { name: "entries", number: true }, { name: "files", number: true }],
      rows: d3.sort(entries, (entry) => entry._updated_at).map((entry) => [entry._updated_at, entry.stage, entry.reason, entry.entries, entry.files]),
    }),
  });
}

function topKeysFigure(feed) {
  const all = d3.sum(feed.key_sizes.events);
  const keys = d3.sort(feed.browser.keys, (key) => -key.events).slice(0, 12)
    .map((key) => ({ ...key, name: `${key.user} · ${key.product}` }));
  const top = d3.sum(keys, (key) => key.events);
  return figure({
    title: "Most active keys",
    note: `The first ${keys.length} of ${plural(d3.sum(feed.key_sizes.keys), "key")}, with ${share(top, all)} of all events.`,
    size: "half",
    nothing: keys.length ? null : "No key is embedded (--keys 0).",
    label: `Bars of the ${keys.length} most active keys; the first has ${keys.length ? share(keys[0].events, all) : "none"} of all events.`,
    draw: (width) => shareBars(keys, all, width, Math.min(190, width / 2.6)),
    table: () => ({
      columns: [{ name: "user_id" }, { name: "product_code" }, { name: "events", number: true }, { name: "share", number: true }, { name: "sessions", number: true }],
      rows: d3.sort(feed.browser.keys, (key) => -key.events).map((key) => [key.user, key.product, key.events, share(key.events, all), key.sessions]),
    }),
  });
}

function keySizesFigure(feed) {
  const sizes = rows(feed.key_sizes);
  const [allKeys, allEvents] = [d3.sum(sizes, (size) => size.keys), d3.sum(sizes, (size) => size.events)];
  const name = (bin) => (bin === 0 ? "1" : `${short.format(2 ** bin)}–${short.format(2 ** (bin + 1) - 1)}`);
  const span = d3.range(d3.min(sizes, (size) => size.bin) ?? 0, (d3.max(sizes, (size) => size.bin) ?? 0) + 1);
  const bars = sizes.flatMap((size) => [
    { bin: size.bin, what: "keys", percent: (100 * size.keys) / allKeys, number: size.keys },
    { bin: size.bin, what: "events", percent: (100 * size.events) / allEvents, number: size.events },
  ]);
  return figure({
    title: "Skew",
    note: "Keys by their number of events: how many of the keys are of that size, and how many of the events they have.",
    size: "half",
    label: `Grouped bars by size of key: share of ${plural(allKeys, "key")} and of ${plural(allEvents, "event")}.`,
    legend: legend([["% of keys", "var(--pink)"], ["% of events", "var(--blue)"]]),
    draw: (width) => Plot.plot({
      width, height: 286, marginLeft: 46, marginBottom: 40,
      fx: { domain: span, label: "events of a key", axis: "bottom", tickSize: 0, padding: 0.2, tickFormat: name,
        ticks: datesWithRoom(span, width, 62) },
      x: { axis: null, domain: ["keys", "events"], padding: 0.05 },
      y: { label: "%", grid: true, ticks: 5 },
      marks: [
        Plot.barY(bars, {
          fx: "bin", x: "what", y: "percent", fill: (bar) => (bar.what === "keys" ? "var(--pink)" : "var(--blue)"),
          title: (bar) => `keys of ${name(bar.bin)} events: ${count.format(bar.number)} ${bar.what}, ${bar.percent.toFixed(1)} %`, tip: true,
        }),
        Plot.ruleY([0]),
      ],
    }),
    table: () => ({
      columns: [
        { name: "events of a key" }, { name: "keys", number: true }, { name: "share", number: true },
        { name: "events", number: true }, { name: "share", number: true },
      ],
      rows: sizes.map((size) => [name(size.bin), size.keys, share(size.keys, allKeys), size.events, share(size.events, allEvents)]),
    }),
  });
}
