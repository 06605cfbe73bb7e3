//! The architecture, held: an import points down only, siblings are strangers, and the ground
//! floor is pure.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&[&str]; 7] = [
    &["swar"],
    &["domain", "http1", "mcp"],
    &["config", "telemetry"],
    &["live", "tls", "upstream"],
    &["proxy", "control"],
    &["admin", "cli", "demo"],
    &["app"],
];

/// In the open: a snapshot holds endpoints, connections to endpoints may be TLS, and a session pin
/// names an entry.
const EXCEPTIONS: [(&str, &str); 3] = [("live", "upstream"), ("upstream", "tls"), ("mcp", "domain")];

/// The ground floor, and what is below it.
const PURE: usize = 2;

/// They have no sockets, no clocks, no dice, no disk.
const IMPURE: [&str; 10] =
    ["tokio", "hyper", "std::net", "std::fs", "std::io", "Instant::now", "SystemTime", "std::env", "rand::fill", "std::thread"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Source files with the module they belong to and their code, tests and comments left out.
fn code() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root).into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let files = files.filter(|path| !path.ends_with("tests.rs"));
    files
        .map(|path| {
            let inside = path.strip_prefix(&root).unwrap();
            let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            (path.clone(), module, lines.collect::<Vec<_>>().join("\n"))
        })
        .collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn an_import_points_down_only() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, module, text) in code() {
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{module} has no floor"));
        for (at, _) in text.match_indices("crate::") {
            let target: String = text[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(other) = floor(&target) else { continue };
            seen += 1;
            let allowed = target == module || other < own || EXCEPTIONS.contains(&(&module, &target));
            if !allowed {
                wrong.push(format!("{}: {module} (floor {own}) uses {target} (floor {other})", path.display()));
            }
        }
    }
    assert!(seen > 50, "the scan finds imports at all: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_ground_floor_is_pure() {
    let mut wrong = Vec::new();
    for (path, module, text) in code() {
        if !FLOORS[..PURE].concat().contains(&module.as_str()) {
            continue;
        }
        for word in IMPURE {
            let used = text.match_indices(word).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + word.len()..].chars().next();
                let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !is_part(before) && !is_part(after)
            });
            if used {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_metric_is_in_the_table_and_nothing_else() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let (table, _) = page.split_once("An outcome is read").unwrap();
    let listed: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known: Vec<&str> = dualgate::telemetry::names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(listed, known);
    for metric in dualgate::telemetry::names::ALL {
        assert!(page.contains(metric.help), "{}", metric.name);
    }
}

#[test]
fn every_route_of_the_admin_api_is_made_together_with_its_document() {
    let mut documented = 0;
    for (path, module, text) in code() {
        if module != "admin" {
            continue;
        }
        assert!(!text.contains(".route("), "{}: routes!, with #[utoipa::path] at the handler", path.display());
        documented += text.matches("#[utoipa::path(").count();
    }
    assert!(documented >= 11, "{documented}");
}
