use super::*;

pub(super) fn notice(occasion: Occasion) -> Notice {
    Notice {
        service: "notes".to_owned(),
        rollout: Some("r-1".to_owned()),
        occasion,
        severity: Severity::Critical,
        title: "notes: 1.5.0 was taken back".to_owned(),
        detail: "search fails".to_owned(),
        fields: vec![("tool".to_owned(), "search".to_owned()), ("rate".to_owned(), "12 %".to_owned())],
        time: "2026-01-12T09:14:03.171Z".to_owned(),
        revision: 7,
    }
}
