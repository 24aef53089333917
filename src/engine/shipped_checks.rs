//! The checks that come with the program, from `sql/checks/`.

/// Name and text of each, by name.
pub const SHIPPED_CHECKS: [(&str, &str); 7] = [
    ("break_inside_session", include_str!("../../sql/checks/break_inside_session.sql")),
    ("duplicate_keys", include_str!("../../sql/checks/duplicate_keys.sql")),
    ("missing_categories", include_str!("../../sql/checks/missing_categories.sql")),
    ("missing_in", include_str!("../../sql/checks/missing_in.sql")),
    ("missing_values", include_str!("../../sql/checks/missing_values.sql")),
    ("session_id_not_unique", include_str!("../../sql/checks/session_id_not_unique.sql")),
    ("session_start_after_event", include_str!("../../sql/checks/session_start_after_event.sql")),
];
