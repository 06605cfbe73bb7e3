//! Where a call goes, and how that is named where others read it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::{Url, form_urlencoded};

/// An address of somebody outside.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
    /// Path and query, as they are asked for.
    pub(super) path: String,
    /// What goes into `Host`.
    pub(super) authority: String,
    /// `Authorization`, where the URL has a user.
    pub(super) authorization: Option<String>,
    /// The URL without user, password and query; of a webhook without its path, too.
    pub(super) shown: String,
}

impl Target {
    /// Of an address whose path says nothing that others should not read.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = || "not a URL with a scheme and a host, like https://example.com/path".to_owned();
        let url = Url::parse(url).map_err(|_| wrong())?;
        Self::of(&url).ok_or_else(wrong)
    }

    /// Of a webhook: whoever knows its path may post.
    pub(super) fn hook(url: &str) -> Result<Self, String> {
        let mut target = Self::parse(url)?;
        target.shown = format!("{}/…", target.origin());
        Ok(target)
    }

    pub(super) fn of(url: &Url) -> Option<Self> {
        let is_secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut target = Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port_or_known_default()?,
            is_secure,
            path: url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())),
            authority,
            authorization: authorization(url),
            shown: String::new(),
        };
        target.shown = format!("{}{}", target.origin(), url.path());
        Some(target)
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.is_secure { "https" } else { "http" }, self.authority)
    }
}

/// RFC 7617, of what stands before the `@`.
fn authorization(url: &Url) -> Option<String> {
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    if user.is_empty() && password.is_empty() {
        return None;
    }
    Some(format!("Basic {}", STANDARD.encode(format!("{}:{}", plain(user), plain(password)))))
}

/// Without percent-encoding. What forms encode in a way of their own is not meant as that here.
fn plain(text: &str) -> String {
    let as_name = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(as_name.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_shown_without_its_secrets() {
        let target = Target::parse("https://us%40er:p+a&s=s@prom.example:9090/base/x?token=secret#part").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.is_secure), ("prom.example", 9090, true));
        assert_eq!((target.path.as_str(), target.authority.as_str()), ("/base/x?token=secret", "prom.example:9090"));
        assert_eq!(target.shown, "https://prom.example:9090/base/x");
        let basic = target.authorization.unwrap();
        assert_eq!(STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap(), b"us@er:p+a&s=s");
        let hook = Target::hook("https://hooks.slack.com/services/T/B/secret").unwrap();
        assert_eq!((hook.shown.as_str(), hook.port, hook.authorization), ("https://hooks.slack.com/…", 443, None));
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets_for_the_connection_only() {
        let target = Target::parse("http://[::1]:8/").unwrap();
        assert_eq!((target.host.as_str(), target.authority.as_str()), ("::1", "[::1]:8"));
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for wrong in ["", "secret", "ftp://secret/", "http://", "mailto:secret"] {
            let error = Target::parse(wrong).err().unwrap();
            assert!(error.contains("like https://") && !error.contains("secret"), "{error}");
        }
    }
}
