//! Endpoint URLs: `http://host:port`, `https://host:port`, and nothing more.

use std::fmt;
use std::net::IpAddr;

use super::value::EndpointText;
use crate::domain::machine::{EndpointSpec, Resolve};

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// A name or an address (an IPv6 address without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub secure: bool,
}

impl Authority {
    /// Reads `http://host:port` or `https://host:port`. The error says what is wrong and what would be right.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`{url}`: {what}");
        let (rest, secure) = match url.split_once("://") {
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some((scheme, _)) => return Err(wrong(&format!("scheme `{scheme}` is not known; use http://host:port"))),
            None => return Err(wrong("an endpoint is written http://host:port")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(wrong("no user or password in an endpoint; clients' credentials are passed on"));
        }
        if !path.is_empty() && path != "/" {
            return Err(wrong(&format!("an endpoint has no path (here `{path}`): the path of the client's request is kept")));
        }
        let parsed: http::uri::Authority = authority.parse().map_err(|_| wrong("the host is not valid"))?;
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            None if secure => 443,
            None => 80,
            Some((_, port)) => {
                port.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("the port is a number from 1 to 65535"))?
            }
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        Ok(Self { host, port, secure })
    }

    /// The URL, always with its port.
    pub fn url(&self) -> String {
        format!("{}://{self}", if self.secure { "https" } else { "http" })
    }
}

/// `host:port`, an IPv6 address in brackets: what goes into `Host`.
impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads the endpoints of an entry. A bare URL is named by its authority, which is unique in the
/// entry and does not change with the order of the list.
pub fn endpoints<'a>(urls: impl Iterator<Item = &'a str>) -> Result<Vec<EndpointSpec>, String> {
    let texts: Vec<EndpointText> = urls.map(|url| EndpointText { name: None, url: url.to_owned(), resolve: None }).collect();
    named(&texts)
}

/// Reads the endpoints of an entry that is deployed over another: where a URL is known and no name
/// is given, it keeps the name it has, so that the sealed ids of its sessions still find it.
pub fn endpoints_beside(texts: &[EndpointText], known: &[EndpointSpec]) -> Result<Vec<EndpointSpec>, String> {
    let mut texts = texts.to_vec();
    for text in texts.iter_mut().filter(|text| text.name.is_none()) {
        let url = Authority::parse(&text.url)?.url();
        text.name = known.iter().find(|spec| spec.url == url).map(|spec| spec.name.clone());
    }
    named(&texts)
}

pub(super) fn named(texts: &[EndpointText]) -> Result<Vec<EndpointSpec>, String> {
    let mut specs: Vec<EndpointSpec> = Vec::with_capacity(texts.len());
    for text in texts {
        let authority = Authority::parse(&text.url)?;
        let resolve = resolve(text, &authority)?;
        let name = text.name.clone().unwrap_or_else(|| authority.to_string());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(format!("`{name}` is not an endpoint name: 1 to 64 letters, digits and - _ . :"));
        }
        let url = authority.url();
        if let Some(twin) = specs.iter().find(|spec| spec.name == name || spec.url == url) {
            return Err(format!("`{}` is there twice", if twin.name == name { name } else { url }));
        }
        specs.push(EndpointSpec { resolve, ..EndpointSpec::new(name, url) });
    }
    if specs.is_empty() {
        return Err("an entry has at least one endpoint, like \"http://127.0.0.1:3000\"".to_owned());
    }
    Ok(specs)
}

fn resolve(text: &EndpointText, authority: &Authority) -> Result<Option<Resolve>, String> {
    match text.resolve.as_deref() {
        None => Ok(None),
        Some("each") if authority.host.parse::<IpAddr>().is_ok() => Err(format!(
            "`{}`: resolve = \"each\" is for a name; an address is an instance already, so leave `resolve` out",
            text.url
        )),
        Some("each") => Ok(Some(Resolve::Each)),
        Some(other) => Err(format!("resolve = `{other}` is not known: \"each\" makes every address an instance of its own")),
    }
}
