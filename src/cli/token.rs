//! The admin token: where it is looked for, and a fresh one.

use std::fs::{self, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use super::args::Output;
use super::failure::{Exit, Failure, plain_io};
use super::print;

/// The name of the generated token's file in the state directory.
const FILE_NAME: &str = "admin-token";

/// What was found.
#[derive(Debug)]
pub(super) enum Token {
    /// A token, and where it is from.
    Found(HeaderValue, PathBuf),
    /// None, and where it was looked for, with what was met there.
    Nowhere(Vec<String>),
    /// None is sent.
    Unneeded,
}

impl Token {
    /// From the named file, which must be there.
    pub(super) fn named(path: &Path) -> Result<Self, Failure> {
        read(path).map(|header| Self::Found(header, path.to_owned())).map_err(|what| {
            let error = format!("cannot read the token file {}: {what}", path.display());
            Failure::new(Exit::Usage, error).with_hint("--token-file, DUALGATE_TOKEN_FILE")
        })
    }

    /// From the first state directory with a token in it.
    pub(super) fn look() -> Self {
        let mut dirs = state_dirs(|name| std::env::var_os(name).map(PathBuf::from));
        // Of several, the one that a running dualgate holds: what others have left behind fits no more.
        dirs.sort_by_key(|dir| !is_in_use(dir));
        Self::search(&dirs)
    }

    fn search(dirs: &[PathBuf]) -> Self {
        let mut met = Vec::new();
        for path in dirs.iter().map(|dir| dir.join(FILE_NAME)) {
            match read(&path) {
                Ok(header) => return Self::Found(header, path),
                Err(what) => met.push(format!("{} ({what})", path.display())),
            }
        }
        Self::Nowhere(met)
    }

    /// What to say when the admin API does not accept it.
    pub(super) fn refused(&self) -> Failure {
        let error = match self {
            Self::Found(_, path) => {
                format!("the token was refused: it is from {} (--token-file, DUALGATE_TOKEN_FILE)", path.display())
            }
            Self::Nowhere(met) => format!(
                "the token was refused: none was sent, as none was found in {} (--token-file, DUALGATE_TOKEN_FILE)",
                met.join(", ")
            ),
            Self::Unneeded => "the admin API wants a token here".to_owned(),
        };
        Failure::new(Exit::Denied, error)
    }
}

/// Where `run` may have generated a token, the most telling place first.
fn state_dirs(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    let named = variable("DUALGATE_STATE_DIR").filter(|dir| !dir.as_os_str().is_empty());
    named.into_iter().chain([PathBuf::from("/var/lib/dualgate")]).chain(user_state_dir(variable)).collect()
}

/// The state directory of a person without rights on the system's, by the XDG base directories.
pub(super) fn user_state_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let absolute = |name| variable(name).filter(|dir| dir.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|dir| dir.join("dualgate"))
}

/// Whether a running dualgate holds the directory's lock.
fn is_in_use(dir: &Path) -> bool {
    fs::File::open(dir.join("lock")).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

fn read(path: &Path) -> Result<HeaderValue, String> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => "not text".to_owned(),
        _ => plain_io(&error),
    })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("no token in it: one line of visible ASCII".to_owned());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

/// `token new`.
pub(super) fn print_new(output: Output) -> Result<Exit, Failure> {
    let token = fresh()?;
    let line = if output == Output::Json { serde_json::json!({ "token": token }).to_string() } else { token };
    print::put(&format!("{line}\n"))?;
    Ok(Exit::Done)
}

/// 256 random bits, in characters that survive shells, headers and YAML.
fn fresh() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Failure::new(Exit::Unexpected, "the system has no randomness to give"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_token_is_43_characters_and_never_the_same() {
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{one}");
        assert_ne!(one, two);
    }

    #[test]
    fn state_directories_are_looked_at_from_the_most_telling_on() {
        let of = |known: &[(&str, &str)]| {
            let dirs = state_dirs(|name| known.iter().find(|(key, _)| *key == name).map(|(_, dir)| PathBuf::from(dir)));
            dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[("HOME", "/home/a")]), ["/var/lib/dualgate", "/home/a/.local/state/dualgate"]);
        assert_eq!(of(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/x")]), ["/var/lib/dualgate", "/x/dualgate"]);
        assert_eq!(of(&[("DUALGATE_STATE_DIR", "s")]), ["s", "/var/lib/dualgate"]);
        assert_eq!(of(&[("DUALGATE_STATE_DIR", ""), ("XDG_STATE_HOME", "relative")]), ["/var/lib/dualgate"]);
    }

    #[test]
    fn a_token_that_is_nowhere_is_named_with_every_place() {
        let Token::Nowhere(met) = Token::search(&["/nowhere/one".into(), "/nowhere/two".into()]) else { panic!() };
        let failure = Token::Nowhere(met).refused();
        assert_eq!(failure.exit, Exit::Denied);
        let places = "/nowhere/one/admin-token (No such file or directory), /nowhere/two/admin-token (No such file or directory)";
        assert!(failure.to_string().contains(places), "{failure}");
    }
}
