//! The effective configuration, as one would write it.

use super::file::{
    Argument, ContractFile, EngineFile, EventFile, FeedFile, File, LakeFile, MartsFile,
    RetentionFile, SessionFile, WindowFile,
};
use super::{
    Config, Contract, EventMapping, FeedConfig, References, SessionRules, WindowRules, location,
    units,
};

/// The effective configuration as TOML: every default filled in, every path absolute, references
/// as they are, credentials that are written in it replaced by `***`. Without those it reads back as
/// the same configuration.
///
/// Keys that have no value (`columns`, `spill_dir`, `threads`, `timestamp_format`) are left out.
pub fn show(config: &Config) -> String {
    let references = &config.references;
    let shown = |path: &str, value: String| Some(references.shown(path, || value));
    let file = File {
        lake: LakeFile {
            url: shown("lake.url", config.lake.redacted_url()),
            compression: shown("lake.compression", config.lake.compression.as_str().to_owned()),
            storage: config.lake.storage.shown(references),
        },
        engine: EngineFile {
            memory_limit: shown(
                "engine.memory_limit",
                units::format_bytes(config.engine.memory_limit_bytes),
            ),
            spill_dir: config
                .engine
                .spill_dir
                .as_ref()
                .map(|folder| location::redacted(&folder.to_string_lossy()))
                .and_then(|folder| shown("engine.spill_dir", folder)),
            threads: config.engine.threads.and_then(|threads| i64::try_from(threads).ok()),
        },
        retention: RetentionFile {
            raw_days: Some(config.retention.raw_days.into()),
            removed_files_days: Some(config.retention.removed_files_days.into()),
            log_days: Some(config.retention.log_days.into()),
        },
        feed: config.feeds.iter().enumerate().map(|(at, one)| feed(at, one, references)).collect(),
    };
    toml::to_string_pretty(&file)
        .unwrap_or_else(|error| format!("# the configuration cannot be shown: {error}\n"))
}

fn feed(index: usize, feed: &FeedConfig, references: &References) -> FeedFile {
    let shown = |key: &str, value: String| {
        Some(references.shown(&format!("feed[{index}].{key}"), || value))
    };
    let mut checks = feed.checks.written.clone();
    checks.folder = checks.folder.and_then(|folder| shown("checks.folder", folder));
    FeedFile {
        name: Some(feed.name.clone()),
        path: shown("path", location::redacted(&feed.path)),
        format: shown("format", feed.format.to_string()),
        columns: feed.columns.clone(),
        on_missing: shown("on_missing", feed.on_missing.to_string()),
        contract: contract(&feed.contract),
        event: event(&feed.event),
        session: session(&feed.session),
        window: window(&feed.window),
        marts: MartsFile { distinct: Some(feed.marts.distinct.clone().unwrap_or_default()) },
        checks,
    }
}

fn contract(contract: &Contract) -> ContractFile {
    let types = contract.types.iter();
    let types = types.map(|(column, of)| (column.clone(), Argument::Text(of.to_string())));
    let allowed = contract.allowed.iter();
    let allowed = allowed.map(|(column, of)| (column.clone(), Argument::Texts(of.clone())));
    ContractFile {
        mandatory: Some(contract.mandatory.clone()),
        on_missing_column: Some(contract.on_missing_column.as_str().to_owned()),
        on_extra_column: Some(contract.on_extra_column.as_str().to_owned()),
        not_blank: Some(contract.not_blank.clone()),
        types: Some(types.collect()),
        allowed: Some(allowed.collect()),
        on_bad_row: Some(contract.on_bad_row.as_str().to_owned()),
        max_bad_rows: contract.max_bad_rows.map(i64::from),
        max_bad_share: contract.max_bad_share_ppm.map(units::format_ppm),
        reject_to: contract.reject_to.as_deref().map(location::redacted),
        reject_move: Some(contract.reject_move),
    }
}

fn event(event: &EventMapping) -> EventFile {
    EventFile {
        user_id: Some(event.user_id.clone()),
        product_code: Some(event.product_code.clone()),
        event_id: Some(event.event_id.clone()),
        timestamp: Some(event.timestamp.clone()),
        timestamp_format: event.timestamp_format.clone(),
        zone: Some(event.zone.clone()),
        attributes: Some(event.attributes.iter().map(ToString::to_string).collect()),
    }
}

fn session(session: &SessionRules) -> SessionFile {
    SessionFile {
        user_action: Some(session.user_action.clone()),
        opens_on: Some(session.opens_on.clone()),
        closes_on: Some(session.closes_on.clone()),
        timeout: Some(units::format_micros(session.timeout_micros)),
        max_duration: Some(
            session.max_duration_micros.map_or_else(String::new, units::format_micros),
        ),
    }
}

fn window(window: &WindowRules) -> WindowFile {
    WindowFile {
        update_depth_days: Some(window.update_depth_days.into()),
        lookback_days: Some(window.lookback_days.into()),
    }
}
