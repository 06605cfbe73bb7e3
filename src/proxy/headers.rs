//! What changes in a head on its way, and nothing else does.

use std::fmt::Write;
use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request};
use hyper::body::Body;

use super::body::ToEntry;
use super::error::ProxyError;
use super::peer::X_FORWARDED_FOR;
use super::{Site, peer::Peer};
use crate::config::{HostSeen, Service};
use crate::mcp::{SessionPin, StandsFor, names};
use crate::upstream::Endpoint;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Prepares a head for any endpoint: what belongs to this hop is taken off (RFC 9110, 7.6.1), what
/// the proxy says of the client is put on.
pub(super) fn prepare(
    head: &mut request::Parts,
    service: &Service,
    host: &str,
    peer: &Peer,
    site: &Site,
    is_mcp: bool,
) -> Result<(), ProxyError> {
    let client = peer.client(&head.headers, &site.tuning().limits);
    // The authority of an absolute target replaces the Host field (RFC 9112, 3.2.2), also where it
    // would be passed on.
    if let Some(authority) = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        head.headers.insert(HOST, authority);
    }
    let asked_host = head.headers.get(HOST).cloned();
    take_off_hop(&mut head.headers)?;
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(EXPECT);
    drop_aliases(&mut head.headers);
    if is_mcp {
        // Outcomes are read from the body; an encoded one could not be.
        head.headers.remove(ACCEPT_ENCODING);
    }
    if !service.affinity.tester_header.is_empty() {
        head.headers.remove(service.affinity.tester_header.as_str());
    }
    say_who_asks(&mut head.headers, client, peer, asked_host.as_ref().map_or(host.as_bytes(), HeaderValue::as_bytes));
    head.headers.append(VIA, site.via.of(head.version).clone());
    join_cookies(&mut head.headers);
    head.version = Version::HTTP_11;
    head.uri = origin_form(&head.uri, service);
    Ok(())
}

/// Over HTTP/2 cookies may come one a field; in HTTP/1.1 they are one field (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Says how long an empty body is, where a length is expected (RFC 9110, 8.6), and that there is one whose
/// length nobody knows: with GET and HEAD the library would take it for none, and lose it.
pub(super) fn frame(head: &mut request::Parts, body: &ToEntry) {
    if body.is_empty() && matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if body.size_hint().exact().is_none() {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Addresses a prepared head to one endpoint.
pub(super) fn address(head: &mut request::Parts, service: &Service, endpoint: &Endpoint, pin: Option<&SessionPin>) {
    if service.traffic.host == HostSeen::Endpoint || !head.headers.contains_key(HOST) {
        head.headers.insert(HOST, endpoint.host.clone());
    }
    // The client's id is ours: the endpoint sees its own, or none.
    head.headers.remove(names::SESSION_ID);
    let pin = pin.filter(|pin| pin.stands_for == StandsFor::SessionId);
    let upstream = pin.and_then(|pin| pin.upstream.as_deref());
    if let Some(id) = upstream.and_then(|id| HeaderValue::from_str(id).ok()) {
        head.headers.insert(names::SESSION_ID, id);
    }
}

/// Cleans the head of an answer.
pub(super) fn clean_answer(headers: &mut HeaderMap) {
    // An endpoint's Connection header that names what it must not is obeyed as far as it may be:
    // the client has done nothing wrong.
    for name in named_in_connection(headers).into_iter().filter(|name| !is_protected(name)) {
        headers.remove(name);
    }
    remove_hop_fields(headers);
}

/// Whether a body is in a coding that has to be undone before it can be read (RFC 9110, 8.4.1). `identity` is
/// none, nor is `none`, which servers write to keep middlemen from compressing their streams.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_coding = |coding: &[u8]| ![&b""[..], b"identity", b"none"].iter().any(|none| coding.eq_ignore_ascii_case(none));
    codings.map(<[u8]>::trim_ascii).any(is_coding)
}

/// Whether a comma-separated list has this element.
pub(super) fn mentions(list: &[u8], element: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(element))
}

fn take_off_hop(headers: &mut HeaderMap) -> Result<(), ProxyError> {
    for name in named_in_connection(headers) {
        if is_protected(&name) {
            return Err(ProxyError::Form("Connection names a field that is not this hop's to remove"));
        }
        headers.remove(name);
    }
    remove_hop_fields(headers);
    Ok(())
}

fn remove_hop_fields(headers: &mut HeaderMap) {
    for name in
        [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHORIZATION, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS]
    {
        headers.remove(name);
    }
}

fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let listed = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = listed.map(|name| name.trim_ascii());
    let options = |name: &[u8]| name.eq_ignore_ascii_case(b"close") || name.eq_ignore_ascii_case(b"keep-alive");
    names.filter(|name| !name.is_empty() && !options(name)).filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

/// Fields that a client could make endpoints misunderstand by having a proxy remove them.
fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "host" | "content-length" | "authorization" | "forwarded" | "origin" | "via")
        || name.starts_with("mcp-")
        || name.starts_with("x-forwarded-")
}

/// Servers that turn `_` into `-` would take `X_Forwarded_For` for ours.
fn drop_aliases(headers: &mut HeaderMap) {
    let aliases: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_'))
        .filter(|name| HeaderName::try_from(name.as_str().replace('_', "-")).is_ok_and(|real| is_protected(&real)))
        .cloned()
        .collect();
    for alias in aliases {
        headers.remove(alias);
    }
}

/// `X-Forwarded-*` and `Forwarded` (RFC 7239): what a stranger wrote is replaced, a trusted proxy's
/// list is continued.
fn say_who_asks(headers: &mut HeaderMap, client: IpAddr, peer: &Peer, host: &[u8]) {
    let hop = if peer.trusted { peer.address.ip().to_canonical() } else { client };
    if !peer.trusted {
        let claims: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).cloned().collect();
        for claim in claims.into_iter().chain([X_REAL_IP]) {
            headers.remove(claim);
        }
    }
    let mut chain = String::new();
    let mut elements = String::new();
    if peer.trusted {
        for value in headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()) {
            let _ = write!(chain, "{value}, ");
        }
        for value in headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok()) {
            let _ = write!(elements, "{value}, ");
        }
    }
    let _ = write!(chain, "{hop}");
    let host = String::from_utf8_lossy(host);
    let bracketed = if hop.is_ipv6() { format!("\"[{hop}]\"") } else { hop.to_string() };
    let _ = write!(elements, "for={bracketed};host=\"{host}\";proto={}", peer.scheme());
    set(headers, X_FORWARDED_FOR, &chain);
    set(headers, FORWARDED, &elements);
    if !peer.trusted || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme()));
    }
    if !peer.trusted || !headers.contains_key(X_FORWARDED_HOST) {
        set(headers, X_FORWARDED_HOST, &host);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Made of addresses, a checked host and values that were header values before.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The target that an endpoint is asked for: path and query, without the prefix where that is stripped.
pub(super) fn origin_form(uri: &Uri, service: &Service) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let kept = if service.strip_prefix { target.strip_prefix(service.path.as_str()).unwrap_or(target) } else { target };
    let path = if kept.starts_with('/') { kept.to_owned() } else { format!("/{kept}") };
    path.parse::<PathAndQuery>().map(Uri::from).unwrap_or_else(|_| Uri::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_belongs_to_a_hop_stays_on_it() {
        let mut headers = map(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "secret"),
            ("x-yours", "2"),
        ]);
        take_off_hop(&mut headers).unwrap();
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-yours"]);
    }

    #[test]
    fn connection_cannot_name_what_endpoints_rely_on() {
        for name in ["Host", "Mcp-Session-Id", "Authorization", "X-Forwarded-For", "Content-Length"] {
            assert!(take_off_hop(&mut map(&[("connection", name)])).is_err(), "{name}");
        }
    }

    #[test]
    fn underscored_twins_of_our_fields_are_dropped_and_others_stay() {
        let mut headers = map(&[("x_forwarded_for", "1"), ("mcp_session_id", "2"), ("my_own", "3")]);
        drop_aliases(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["my_own"]);
    }

    #[test]
    fn a_strangers_claims_are_replaced_and_a_trusted_list_is_continued() {
        let claims = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "666"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let mut peer = Peer { address: "192.0.2.7:1".parse().unwrap(), trusted: false, secure: false, is_local: false };
        let mut headers = map(&claims);
        say_who_asks(&mut headers, peer.address.ip(), &peer, b"notes.example");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert!(!headers.contains_key("x-forwarded-port") && !headers.contains_key("x-real-ip"));
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "notes.example");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"notes.example\";proto=http");

        peer.trusted = true;
        let mut headers = map(&claims);
        say_who_asks(&mut headers, "6.6.6.6".parse().unwrap(), &peer, b"notes.example");
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=6.6.6.6, for=192.0.2.7;host=\"notes.example\";proto=http");
    }
}
