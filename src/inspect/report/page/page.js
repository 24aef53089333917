// The page: a summary and the sections of the chosen feed.

const report = JSON.parse(document.getElementById("data").textContent);

const SECTIONS = [
  ["summary", "Summary"], ["runs", "Runs"], ["arrivals", "Arrivals"], ["days", "Days"], ["sessions", "Sessions"],
  ["plan", "Plan"], ["quarantine", "Quarantine"], ["skew", "Keys"], ["browser", "Session browser"], ["rules", "Rules"],
];

function section(id, intro, ...children) {
  const [, title] = SECTIONS.find(([name]) => name === id);
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title),
    intro ? el("p", { class: "intro" }, intro) : null, ...children);
}

const cards = (...figures) => el("div", { class: "cards" }, ...figures);

function number(name, value, below, { text = false, bad = false, exact } = {}) {
  return el("div", {}, el("dt", {}, name),
    el("dd", { class: `${text ? "text" : ""} ${bad ? "bad" : ""}`, "data-figure": name, "data-value": exact ?? value }, value),
    below ? el("dd", { class: "small" }, below) : null);
}

function summary(feed, days) {
  const sum = (name) => d3.sum(days, (day) => day[name]);
  const [events, without, sessions] = [sum("events"), sum("without"), sum("sessions")];
  const refused = d3.sum(feed.quarantine.entries);
  const lengths = rows(feed.session_lengths);
  const last = lastRun(feed);
  return el("dl", { class: "figures" },
    number("Events", count.format(events), `${share(sum("actions"), events)} user actions`, { exact: events }),
    number("Sessions", count.format(sessions), sessions ? `${(d3.sum(lengths, (bin) => bin.events) / sessions).toFixed(1)} events and ${length(d3.sum(lengths, (bin) => bin.length_ms) / 1000 / sessions)} each` : null, { exact: sessions }),
    number("Keys", count.format(d3.sum(feed.key_sizes.keys)), "user and product", { exact: d3.sum(feed.key_sizes.keys) }),
    number("Without a session", share(without, events), plural(without, "event"), { exact: without }),
    number("Last arrival date", feed.last_arrival_date ?? "–", `${plural(feed.arrival_dates, "date")} built`, { text: true, exact: feed.last_arrival_date }),
    number("In quarantine", count.format(refused), refused ? plural(new Set(feed.quarantine.reason).size, "reason") : "nothing", { exact: refused }),
    last ? number("Last run", last.failed ? "failed" : "done", `in ${length(last.seconds)}, ${last.started} UTC`, { text: true, bad: last.failed, exact: last.started }) : number("Last run", "–", "none is recorded", { text: true }));
}

function lastRun(feed) {
  const stages = rows(feed.runs);
  if (!stages.length) return null;
  const id = stages.at(-1).run_id;
  const own = stages.filter((stage) => stage.run_id === id);
  return {
    started: seconds(own[0].started), seconds: d3.sum(own, (stage) => stage.seconds),
    failed: own.some((stage) => stage.outcome === "failed" || stage.outcome === "interrupted"),
  };
}

function rulesTable(feed) {
  return el("div", { class: "card" }, table({
    title: "Session rules recorded in ODS, newest first",
    columns: ["from event date", "timeout", "max duration", "user action", "opens on", "closes on"].map((name) => ({ name })),
    rows: feed.rules.toReversed().map((rule) => [
      rule.from ?? "the beginning", length(rule.timeout_seconds), rule.max_duration_seconds == null ? "none" : length(rule.max_duration_seconds),
      rule.user_action, rule.opens_on, rule.closes_on,
    ]),
  }));
}

function emptyFeed(feed) {
  const isBuilt = feed.last_date != null;
  return el("section", { class: "card empty" }, el("h2", { style: "margin-top: 0" }, isBuilt ? "No events on these dates" : "This feed has no events yet"),
    el("p", { class: "intro" }, isBuilt
      ? `ODS has events from ${feed.first_date} to ${feed.last_date}, none of them from ${feed.from} to ${feed.to}. Make the report of other dates:`
      : "Nothing was built into its ODS table. Run it, then make the report again:"),
    el("pre", {}, el("code", {}, isBuilt ? `sessionlake report --feed ${feed.name} --from ${feed.first_date} --to ${feed.last_date}` : `sessionlake run --feed ${feed.name}`)));
}

function show(feed) {
  forgetPlots();
  const main = document.getElementById("main");
  const isEmpty = d3.sum(feed.arrivals.events) === 0;
  const isShown = (id) => (isEmpty ? ["runs", "quarantine"].includes(id) : id !== "plan" || feed.plan);
  const shown = SECTIONS.filter(([id]) => isShown(id));
  document.getElementById("sections").replaceChildren(...shown.map(([id, title]) => el("a", { href: `#${id}` }, title)));
  if (isEmpty) {
    main.replaceChildren(emptyFeed(feed), section("runs", null, cards(runsFigure(feed))), section("quarantine", null, cards(quarantineFigure(feed))));
    return;
  }
  const days = daysOf(feed);
  const browser = browserCard(feed);
  main.replaceChildren(
    section("summary", summaryNote(feed), summary(feed, days)),
    section("runs", null, cards(runsFigure(feed), stagesCard(feed))),
    section("arrivals", null, cards(arrivalsFigure(feed), delaysFigure(feed))),
    section("days", null, cards(eventsFigure(days), sessionsFigure(days), emptyShareFigure(days))),
    section("sessions", null, cards(lengthsFigure(feed), gapsFigure(feed))),
    ...(feed.plan ? [section("plan", planNote(feed), ...planCards(feed))] : []),
    section("quarantine", null, cards(quarantineFigure(feed))),
    section("skew", null, cards(topKeysFigure(feed), keySizesFigure(feed))),
    section("browser", browserNote(feed), browser.card),
    section("rules", null, rulesTable(feed)),
  );
  browser.start();
}

function summaryNote(feed) {
  const cut = feed.dates_left_out > 0 ? ` ${plural(feed.dates_left_out, "older event date")} left out; --from and --to choose others, up to ${report.bounds.dates} at a time.` : "";
  return `Event dates ${feed.from} to ${feed.to}, in ${feed.zone}. Instants are UTC.${cut}`;
}

function stagesCard(feed) {
  const stages = d3.rollups(rows(feed.runs), (of) => ({ number: of.length, median: d3.median(of, (stage) => stage.seconds), most: d3.max(of, (stage) => stage.seconds), failed: d3.sum(of, (stage) => stage.outcome === "failed") }), (stage) => stage.stage);
  const card = el("div", { class: "card third" }, el("h3", {}, "Stages"),
    el("p", {}, feed.runs.run_id.length < report.bounds.stages ? "All that are recorded." : `The newest ${count.format(report.bounds.stages)} that are recorded.`));
  card.append(table({
    title: "Seconds by stage",
    columns: [{ name: "stage" }, { name: "times", number: true }, { name: "median s", number: true }, { name: "most s", number: true }, { name: "failed", number: true }],
    rows: stages.map(([stage, of]) => [stage, of.number, of.median.toFixed(2), of.most.toFixed(2), of.failed]),
  }));
  return card;
}

function browserNote(feed) {
  const { browser } = feed;
  const sentences = [`${plural(browser.keys.length, "key")} of ${count.format(d3.sum(feed.key_sizes.keys))}: the most active ones, and those of --user.`];
  if (browser.keys_left_out) sentences.push(`${plural(browser.keys_left_out, "further key was", "further keys were")} left out: a report holds at most ${count.format(report.bounds.sessions)} sessions and ${count.format(report.bounds.events)} events of each feed.`);
  for (const user of browser.unknown_users) sentences.push(`User ${user} has no event on these dates.`);
  return sentences.join(" ");
}

/** Tabs of feeds: arrow keys move between them. */
function tabs(feeds) {
  const list = document.getElementById("feeds");
  list.hidden = feeds.length < 2;
  const choose = (chosen, focus) => {
    [...list.children].forEach((tab, at) => {
      tab.setAttribute("aria-selected", String(at === chosen));
      tab.tabIndex = at === chosen ? 0 : -1;
      if (at === chosen && focus) tab.focus();
    });
    show(feeds[chosen]);
  };
  feeds.forEach((feed, at) => {
    const tab = el("button", { type: "button", role: "tab", "aria-controls": "main" }, feed.name);
    tab.addEventListener("click", () => choose(at, false));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: feeds.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose((to + feeds.length) % feeds.length, true);
    });
    list.append(tab);
  });
  choose(0, false);
}

document.getElementById("made").textContent = `${report.lake} · made ${seconds(report.made)} UTC by sessionlake ${report.version}`;
document.getElementById("notes").append(
  el("p", {}, `Bounds of this page, of each feed: ${count.format(report.bounds.dates)} event dates, ${count.format(report.bounds.stages)} stages of runs, ${count.format(report.bounds.keys)} keys, ${count.format(report.bounds.sessions)} sessions and ${count.format(report.bounds.events)} events in the session browser; tables show ${count.format(TABLE_ROWS)} rows.`),
  el("p", {}, "Drawn with Observable Plot and d3 (ISC licence). This page asks nothing of any network."));
tabs(report.feeds);
