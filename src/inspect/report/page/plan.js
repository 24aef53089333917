// What other session rules would change.

const CHANGES = [
  ["unchanged", "unchanged"], ["resized", "resized"], ["split", "split"], ["merged", "merged"], ["appeared", "new"], ["gone", "gone"],
];

function planFigures(plan) {
  const { total } = plan;
  return el("dl", { class: "figures" },
    number("Sessions before", count.format(total.sessions_before), null, { exact: total.sessions_before }),
    number("Sessions after", count.format(total.sessions_after), `${total.sessions_after < total.sessions_before ? "−" : "+"}${count.format(Math.abs(total.sessions_after - total.sessions_before))}`, { exact: total.sessions_after }),
    number("Split", count.format(total.split), "old sessions", { exact: total.split }),
    number("Merged", count.format(total.merged), "new sessions", { exact: total.merged }),
    number("Unchanged", share(total.unchanged, total.sessions_before), plural(total.unchanged, "session"), { exact: total.unchanged }),
    number("Events that move", share(total.events_moved, total.events), plural(total.events_moved, "event"), { exact: total.events_moved }));
}

function planDatesFigure(plan) {
  const dates = Object.entries(plan.dates).map(([date, change]) => ({ date, ...change }));
  const bars = dates.flatMap(({ date, sessions_before, sessions_after }) => [
    { date, when: "before", sessions: sessions_before }, { date, when: "after", sessions: sessions_after },
  ]);
  const shown = bars.slice(-2 * 120);
  const names = shown.filter((_, at) => at % 2 === 0).map((bar) => bar.date);
  return figure({
    title: "Sessions by date, before and after",
    note: names.length < dates.length ? `The newest ${names.length} of ${plural(dates.length, "date")}.` : "By the date of their start.",
    label: `Grouped bars of sessions by date: ${count.format(plan.total.sessions_before)} before, ${count.format(plan.total.sessions_after)} after.`,
    legend: legend([["before", "var(--grey)"], ["after", "var(--blue)"]]),
    nothing: dates.length ? null : "No session would change.",
    draw: (width) => Plot.plot({
      width, height: 230, marginLeft: 52, marginBottom: 40,
      fx: { ...dateAxis(names, width, "date"), axis: "bottom", padding: 0.2 },
      x: { axis: null, domain: ["before", "after"], padding: 0 },
      y: { label: "sessions", grid: true, ticks: 5, tickFormat: short.format },
      marks: [
        Plot.barY(shown, { fx: "date", x: "when", y: "sessions", fill: (bar) => (bar.when === "before" ? "var(--grey)" : "var(--blue)"), title: (bar) => `${bar.date}, ${bar.when}: ${plural(bar.sessions, "session")}`, tip: true }),
        Plot.ruleY([0]),
      ],
    }),
    table: () => changesTable("date", dates.map(({ date, ...change }) => [[date], change])),
  });
}

function changesTable(name, changes, more = []) {
  return {
    columns: [{ name }, ...more.map((column) => ({ name: column })),
      ...["events", "that move", "before", "after", ...CHANGES.map(([, title]) => title)].map((title) => ({ name: title, number: true }))],
    rows: changes.map(([names, change]) => [...names, change.events, change.events_moved, change.sessions_before, change.sessions_after,
      ...CHANGES.map(([key]) => change[key])]),
  };
}

function planCards(feed) {
  const { plan } = feed;
  const products = Object.entries(plan.products).map(([product, change]) => [[product], change]);
  products.sort(([, one], [, other]) => other.events_moved - one.events_moved);
  if (plan.other_products.events) products.push([["all others"], plan.other_products]);
  const listed = (title, described) => {
    const card = el("div", { class: "card" }, el("h3", {}, title));
    card.append(table({ title: "Sessions and events", ...described }));
    return card;
  };
  return [
    planFigures(plan),
    el("div", { class: "cards", style: "margin-top: .9rem" }, planDatesFigure(plan),
      listed("By product", changesTable("product_code", products)),
      listed("The keys most affected", changesTable("user_id", plan.keys.map((key) => [[key.user_id, key.product_code], key]), ["product_code"]))),
  ];
}

function planNote(feed) {
  const rules = feed.plan.rules.map((rule) => `${rule.key} ${rule.planned} instead of ${rule.recorded}`).join(", ");
  return `What the rules of the configuration would change from event date ${feed.plan.from} on: ${rules}. Nothing is changed before a reprocess.`;
}
