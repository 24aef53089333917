//! The page of a lake in a real browser: what it shows, how it looks, by keyboard, and at size.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sessionlake::lake::TableName;

use crate::support::chromium::Chromium;
use crate::support::workspace::Workspace;

/// The sample configuration and batches of this repository, and the page made of them.
fn sample() -> Workspace {
    let repository = env!("CARGO_MANIFEST_DIR");
    let workspace = Workspace::new();
    let sample = fs::read_to_string(format!("{repository}/sessionlake.toml")).unwrap();
    workspace.configure(&sample.replace("batches/", &format!("{repository}/batches/")));
    workspace.exec("run").code(0);
    workspace
}

fn page(workspace: &Workspace, options: &str) -> PathBuf {
    workspace.exec(&format!("report {options}")).code(0);
    workspace.path("report.html")
}

/// The exact value of a figure of the summary.
fn figure(browser: &mut Chromium, name: &str) -> String {
    browser.text(&format!("document.querySelector('[data-figure=\"{name}\"]').dataset.value"))
}

/// The cells of the table below a heading.
fn table(browser: &mut Chromium, title: &str) -> Vec<Vec<String>> {
    let cells = format!(
        "(async () => {{
            const card = [...document.querySelectorAll('.card')].find((card) =>
                card.querySelector('h3')?.textContent === '{title}');
            card.querySelector('details').open = true;
            await new Promise((done) => setTimeout(done));
            return [...card.querySelectorAll('tbody tr')].map((row) =>
                [...row.cells].map((cell) => cell.textContent));
        }})()"
    );
    serde_json::from_value(browser.eval(&cells)).unwrap()
}

/// Numbers as the page writes them.
fn number(text: &str) -> usize {
    text.replace(',', "").parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn sum(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| number(&row[column])).sum()
}

fn focused(browser: &mut Chromium) -> String {
    browser.text("document.activeElement.id || document.activeElement.className || 'none'")
}

#[test]
fn the_page_of_the_sample_lake_has_its_numbers_and_asks_nothing_of_a_network() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = sample();
    browser.open(&page(&workspace, ""));
    let ods = workspace.ods(&[]);
    let sessions: BTreeSet<&str> = ods.iter().filter_map(|row| row.session_id.as_deref()).collect();
    let keys: BTreeSet<(&str, &str)> =
        ods.iter().map(|row| (row.user_id.as_str(), row.product_code.as_str())).collect();
    let without = ods.iter().filter(|row| row.session_id.is_none()).count();
    for (name, expected) in [
        ("Events", ods.len()),
        ("Sessions", sessions.len()),
        ("Keys", keys.len()),
        ("Without a session", without),
        ("In quarantine", workspace.quarantine().len()),
    ] {
        assert_eq!(figure(&mut browser, name), expected.to_string(), "{name}");
    }
    assert_eq!(figure(&mut browser, "Last arrival date"), "2026-01-12");

    let late = |days: i32| ods.iter().filter(|row| row.updated_at - row.pdate == days).count();
    let arrivals = table(&mut browser, "Arrival date and event date");
    assert_eq!(sum(&arrivals, 2), ods.len());
    let delays = table(&mut browser, "How late events come");
    let on_the_day = delays.iter().find(|row| row[0] == "on the day").unwrap();
    assert_eq!(number(&on_the_day[1]), late(0));
    let lengths = table(&mut browser, "Length of sessions");
    assert_eq!(sum(&lengths, 1), sessions.len());
    let gaps = table(&mut browser, "Gaps between events of a key");
    assert_eq!(sum(&gaps, 2), ods.iter().filter(|row| row.time_diff_ms.is_some()).count());
    let inside: Vec<_> = gaps.iter().filter(|row| row[1] == "inside a session").cloned().collect();
    let goes_on = |row: &&sessionlake::reference::Expected| {
        let start = row.session_start_micros;
        start.is_some() && (start != Some(row.timestamp_micros) || row.time_diff_ms == Some(0))
    };
    assert_eq!(sum(&inside, 2), ods.iter().filter(goes_on).count());
    let days = table(&mut browser, "Sessions per day");
    assert_eq!((sum(&days, 1), sum(&days, 5)), (ods.len(), sessions.len()));
    let sizes = table(&mut browser, "Skew");
    assert_eq!((sum(&sizes, 1), sum(&sizes, 3)), (keys.len(), ods.len()));
    let stages = table(&mut browser, "Duration of runs");
    assert_eq!(stages.len(), workspace.lines(&TableName::Runs, &["stage"]).len());
    let top = table(&mut browser, "Most active keys");
    let events = |user: &str, product: &str| {
        ods.iter().filter(|row| row.user_id == user && row.product_code == product).count()
    };
    assert_eq!(number(&top[0][2]), events(&top[0][0], &top[0][1]));
    assert_eq!(
        number(&top[0][2]),
        keys.iter().map(|(user, product)| events(user, product)).max().unwrap()
    );

    let unlabelled = "[...document.querySelectorAll('main svg, main canvas')].filter((plot) =>
        plot.getAttribute('role') === 'img' && plot.getAttribute('aria-label')?.length > 20).length
        - document.querySelectorAll('main .plot > svg, main canvas').length";
    assert_eq!(browser.eval(unlabelled), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_session_browser_shows_the_sessions_of_the_chosen_key() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = sample();
    browser.open(&page(&workspace, "--keys 3 --user u000017 --user nobody"));
    let ods = workspace.ods(&[]);
    let first = browser.text("document.querySelector('#keys .row').innerText");
    assert!(first.starts_with("u000017"), "{first}");
    let note = browser.text("document.querySelector('#browser .intro').textContent");
    assert!(note.contains("User nobody has no event"), "{note}");
    let heading = browser.text("document.getElementById('chosen-key').textContent");
    let (user, product) = heading.split_once(" · ").unwrap();
    let rows: Vec<_> =
        ods.iter().filter(|row| row.user_id == user && row.product_code == product).collect();
    let sessions: BTreeSet<_> = rows.iter().filter_map(|row| row.session_id.as_ref()).collect();
    let about = browser.text("document.getElementById('chosen-key').nextSibling.textContent");
    let expected = format!("{} session", sessions.len());
    assert!(
        about.starts_with(&expected) && about.contains(&format!("{} event", rows.len())),
        "{about}"
    );
    let newest = rows.iter().map(|row| row.timestamp_micros).max().unwrap();
    let newest = chrono::DateTime::from_timestamp_micros(newest).unwrap();
    browser.eval("document.getElementById('events').scrollTop = 1e9");
    browser.frames();
    let last = browser.text("[...document.querySelectorAll('#events .row')].at(-1).innerText");
    assert!(last.contains(&newest.format("%H:%M:%S").to_string()), "{last}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn other_session_rules_are_planned_on_the_page() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = sample();
    browser.open(&page(&workspace, "--set session.timeout=10m"));
    let plan = workspace.json("plan --set session.timeout=10m");
    let total = &plan["feeds"][0]["total"];
    for (name, key) in [
        ("Sessions after", "sessions_after"),
        ("Merged", "merged"),
        ("Events that move", "events_moved"),
    ] {
        assert_eq!(figure(&mut browser, name), total[key].to_string(), "{name}");
        assert_ne!(total[key], 0, "{name}");
    }
    let dates = table(&mut browser, "Sessions by date, before and after");
    assert_eq!(sum(&dates, 4).to_string(), total["sessions_after"].to_string());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Every visible text with too little contrast to what lies behind it.
const FAINT: &str = r#"(() => {
    const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
        .getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        pen.clearRect(0, 0, 1, 1);
        pen.fillStyle = colour;
        pen.fillRect(0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data];
    };
    const light = ([red, green, blue]) => {
        const part = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
    };
    const contrast = (one, other) => {
        const [low, high] = [light(rgba(one)), light(rgba(other))].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (rgba(colour)[3] === 255) return colour;
        }
    };
    const faint = [];
    let seen = 0;
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !element.checkVisibility() || element.closest("script, noscript, style, title")) continue;
        const style = getComputedStyle(element);
        const colour = element instanceof SVGElement ? style.fill : style.color;
        const ratio = contrast(colour, behind(element.closest("svg")?.parentElement ?? element));
        seen += 1;
        if (!(ratio >= 4.5)) faint.push(`${element.textContent.slice(0, 40)}: ${colour}, ${ratio.toFixed(2)}`);
    }
    const root = getComputedStyle(document.documentElement);
    for (const name of ["blue", "orange", "green", "pink", "grey", "accent"]) {
        const ratio = contrast(root.getPropertyValue(`--${name}`), root.getPropertyValue("--card"));
        if (!(ratio >= 3)) faint.push(`--${name}: ${ratio.toFixed(2)}`);
    }
    return { faint, seen, page: light(rgba(getComputedStyle(document.body).backgroundColor)) };
})()"#;

#[test]
fn dark_and_light_are_both_readable_and_narrow_windows_have_no_sideways_scroll() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = sample();
    browser.open(&page(&workspace, ""));
    browser.eval(
        "document.querySelectorAll('details').forEach((details) => { details.open = true; })",
    );
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        browser.emulate((1400, 1000), scheme);
        browser.frames();
        let found = browser.eval(FAINT);
        assert_eq!(found["faint"], serde_json::json!([]), "{scheme}");
        assert!(found["seen"].as_u64().unwrap() > 300, "{found}");
        assert_eq!(found["page"].as_f64().unwrap() < 0.2, is_dark, "{found}");
    }
    browser.emulate((390, 800), "light");
    browser.frames();
    let root = "document.documentElement";
    assert_eq!(browser.eval(&format!("{root}.scrollWidth - {root}.clientWidth")), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn everything_is_reached_and_used_by_keyboard() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = sample();
    browser.open(&page(&workspace, ""));
    browser.press("Tab");
    assert_eq!(focused(&mut browser), "skip");
    let outline = "getComputedStyle(document.activeElement).outlineStyle";
    let mut tabs = 0;
    while focused(&mut browser) != "search" {
        browser.press("Tab");
        tabs += 1;
        assert!(tabs < 60, "the search of the session browser is not reached");
        assert_eq!(browser.text(outline), "solid", "at {}", focused(&mut browser));
    }
    let third = browser.text("document.querySelectorAll('#keys .row')[2].firstChild.innerText");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    let active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).innerText";
    assert!(browser.text(active).starts_with(&third));
    browser.press("Enter");
    let heading = "document.getElementById('chosen-key').textContent";
    assert_eq!(browser.text(heading), third);

    browser.write("u000003");
    let rows =
        browser.eval("[...document.querySelectorAll('#keys .row')].map((row) => row.innerText)");
    let is_found = |row: &Value| row.as_str().unwrap().starts_with("u000003");
    assert!(
        rows.as_array().is_some_and(|rows| !rows.is_empty() && rows.iter().all(is_found)),
        "{rows}"
    );
    browser.press("Enter");
    assert!(browser.text(heading).starts_with("u000003"));
    browser.press("Tab");
    assert_eq!(focused(&mut browser), "keys");
    browser.press("Tab");
    assert_eq!(focused(&mut browser), "spans");
    let second = browser.text("document.querySelectorAll('#spans .row')[1].firstChild.innerText");
    browser.press("ArrowDown");
    browser.press("Enter");
    let chosen = browser.text("document.querySelector('.detail h3').textContent");
    assert!(chosen.contains(&second), "{chosen}, {second}");
    browser.press("Tab");
    assert_eq!(focused(&mut browser), "events");
    browser.press("End");
    browser.press("Tab");
    assert_ne!(focused(&mut browser), "events", "the focus is caught");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_of_an_empty_lake_says_what_to_do() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = Workspace::new();
    workspace.configure(crate::support::CONFIGURATION);
    browser.open(&page(&workspace, ""));
    let text = browser.text("document.getElementById('main').innerText");
    assert!(text.contains("sessionlake run") && text.contains("No run is recorded"), "{text}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn each_feed_has_a_tab_and_names_are_text_whatever_they_hold() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = Workspace::new();
    let feed = |name: &str| {
        crate::support::CONFIGURATION
            .replace("events\"\npath", &format!("{name}\"\npath"))
            .replace("batches/{arrival_date}/", &format!("batches/{name}-{{arrival_date}}/"))
    };
    workspace.configure(&(feed("one") + &feed("two")));
    for name in ["one", "two"] {
        let user = "</script><img src=x onerror=alert(1)>";
        let rows = format!(
            "user_id,product_code,event_id,timestamp,note\n\
             {user},web,click,2026-01-05T10:00:00Z,a\n{name},web,click,2026-01-05T10:00:00Z,a\n"
        );
        workspace.write_batch(&format!("{name}-2026-01-05/a.csv"), &rows);
    }
    workspace.exec("run").code(0);
    browser.open(&page(&workspace, ""));
    let chosen = "document.querySelector('[role=tab][aria-selected=true]').innerText";
    assert_eq!(browser.text(chosen), "one");
    browser.eval("document.querySelector('[role=tab]').focus()");
    browser.press("ArrowRight");
    assert_eq!(browser.text(chosen), "two");
    browser.frames();
    let keys = browser.text("document.getElementById('keys').innerText");
    assert!(
        keys.contains("</script><img src=x onerror=alert(1)>") && keys.contains("two"),
        "{keys}"
    );
    assert_eq!(browser.eval("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    browser.eval("setTimeout(() => { throw new Error('a fault') })");
    browser.frames();
    let banner = browser.text("document.getElementById('errors').innerText");
    assert!(banner.contains("a fault"), "{banner}");
}

/// One user with as many sessions of two events as that, and many users with one.
fn crowded(sessions: u32) -> Workspace {
    let workspace = Workspace::new();
    workspace.configure(&crate::support::CONFIGURATION.replace("\"5m\"", "\"1s\""));
    let start = "2026-01-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let mut rows = "user_id,product_code,event_id,timestamp,note\n".to_owned();
    for session in 0..sessions {
        let at = start + chrono::TimeDelta::seconds(4 * i64::from(session));
        let later = at + chrono::TimeDelta::milliseconds(500);
        for (event, at) in [("click", at), ("scroll", later)] {
            let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            writeln!(rows, "busy,web,{event},{at},").unwrap();
        }
    }
    for user in 0..3000 {
        writeln!(rows, "user{user},web,click,2026-01-03T10:00:00Z,").unwrap();
    }
    workspace.write_batch("2026-01-05/a.csv", &rows);
    workspace.exec("run").code(0);
    workspace
}

#[test]
fn a_hundred_thousand_sessions_do_not_freeze_the_page() {
    let Some(mut browser) = Chromium::start() else { return };
    let workspace = crowded(100_000);
    browser.open(&page(&workspace, "--keys 3001"));
    let elements = "document.querySelectorAll('*').length";
    let bounded = |browser: &mut Chromium| {
        let number = browser.eval(elements).as_u64().unwrap();
        assert!(number < 3000, "{number} elements");
    };
    bounded(&mut browser);
    assert_eq!(figure(&mut browser, "Sessions"), "103000");
    let about = browser.text("document.getElementById('chosen-key').nextSibling.textContent");
    assert!(about.starts_with("100,000 sessions, 200,000 events"), "{about}");
    browser.eval("document.getElementById('spans').focus()");
    browser.press("End");
    bounded(&mut browser);
    let last = "[...document.querySelectorAll('#spans .row')].at(-1)";
    assert_eq!(browser.text(&format!("{last}.getAttribute('aria-posinset')")), "100000");
    assert!(browser.text(&format!("{last}.innerText")).starts_with("2026-01-01 00:00:00"));
    browser.press("Enter");
    let chosen = browser.text("document.querySelector('.detail h3').textContent");
    assert!(chosen.contains("2026-01-01 00:00:00"), "{chosen}");
    browser.eval("document.getElementById('search').focus()");
    browser.write("user2999");
    browser.press("Enter");
    let heading = browser.text("document.getElementById('chosen-key').textContent");
    assert_eq!(heading, "user2999 · web");
    bounded(&mut browser);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
