//! Who calls, for the audit: the name that a client gives itself, and the address that it cannot choose.

use axum::http::HeaderMap;

use super::Caller;
use super::problem::{Problem, kinds};

/// Who the bearer of the token is, as they say themselves.
pub(super) const ACTOR: &str = "dualgate-actor";

/// Longer names are no names.
const LONGEST: usize = 64;

/// `alice@127.0.0.1`; `token@127.0.0.1` where no name is given.
pub(super) fn actor(caller: Caller, headers: &HeaderMap) -> Result<String, Problem> {
    let mut names = headers.get_all(ACTOR).iter();
    let name = match (names.next(), names.next()) {
        (None, _) => "token",
        (Some(name), None) => name.to_str().ok().filter(|name| is_name(name)).ok_or_else(wrong)?,
        (Some(_), Some(_)) => return Err(wrong()),
    };
    Ok(format!("{name}@{}", caller.0.ip()))
}

/// The name on an attempt that is denied anyway; one that is none is left out.
pub(super) fn claimed(headers: &HeaderMap) -> Option<&str> {
    headers.get(ACTOR)?.to_str().ok().filter(|name| is_name(name))
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn wrong() -> Problem {
    let detail = format!("Dualgate-Actor is one name of 1 to {LONGEST} visible ASCII characters, without spaces");
    Problem::new(kinds::ACTOR, detail).hint("leave it out, or name a person or a pipeline")
}
