//! What changes in a head on its way, and nothing else does.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::Via;
use super::error::ProxyError;
use super::peer::{Peer, X_FORWARDED_FOR};
use super::rehome::{Letterhead, is_of_one_request};
use super::target::{path_and_query, stripped};
use crate::config::{HostSeen, Service};
use crate::http1::{self, Fields, Head, RequestHead};
use crate::mcp::{SessionPin, StandsFor};
use crate::upstream::Endpoint;

const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";

/// A request's head as any endpoint is to see it: what belongs to this hop is left out (RFC 9110, 7.6.1), what the
/// proxy says of the client is put in. Written in one pass, once for each endpoint that is tried.
pub(super) struct Outgoing<'a> {
    head: &'a Rc<RequestHead>,
    service: &'a Service,
    peer: &'a Rc<Peer>,
    via: &'a HeaderValue,
    is_mcp: bool,
    /// Named in `Connection`.
    named: Vec<Vec<u8>>,
    /// What is asked for instead of the request's own target; and since its session has moved.
    target: Option<&'a Uri>,
    aimed: Option<Box<Uri>>,
    /// The authority of an absolute target, which replaces the Host field (RFC 9112, 3.2.2), also where it would
    /// be passed on.
    authority: Option<&'a str>,
    resume: Resume,
}

/// What becomes of `Last-Event-ID`.
pub(super) enum Resume {
    /// It goes as it came.
    AsAsked,
    /// The server's own id goes instead.
    Behind(Vec<u8>),
    /// There is nothing to go on with: a fresh stream is asked for.
    Fresh,
}

/// How long the body is that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    /// It goes in chunks.
    Unknown,
}

/// Where fields are put.
pub(super) trait Lines {
    fn put(&mut self, name: &[u8], parts: &[&[u8]]);

    /// Puts those fields that stay.
    fn put_all(&mut self, fields: &Fields, stays: impl FnMut(&[u8], &[u8]) -> bool);
}

impl Lines for Vec<u8> {
    fn put(&mut self, name: &[u8], parts: &[&[u8]]) {
        self.extend_from_slice(name);
        self.extend_from_slice(b": ");
        for part in parts {
            self.extend_from_slice(part);
        }
        self.extend_from_slice(b"\r\n");
    }

    fn put_all(&mut self, fields: &Fields, stays: impl FnMut(&[u8], &[u8]) -> bool) {
        fields.write(self, stays);
    }
}

impl Lines for HeaderMap {
    fn put_all(&mut self, fields: &Fields, mut stays: impl FnMut(&[u8], &[u8]) -> bool) {
        fields.iter().filter(|(name, value)| stays(name, value)).for_each(|(name, value)| self.put(name, &[value]));
    }

    fn put(&mut self, name: &[u8], parts: &[&[u8]]) {
        // Made of addresses, a checked host and values that were header values before.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&parts.concat())) {
            self.append(name, value);
        }
    }
}

impl<'a> Outgoing<'a> {
    /// Looks at a head; an error where `Connection` names what is not its hop's to remove.
    pub(super) fn new(
        head: &'a Rc<RequestHead>,
        service: &'a Service,
        peer: &'a Rc<Peer>,
        via: &'a Via,
        target: Option<&'a Uri>,
        is_mcp: bool,
    ) -> Result<Self, ProxyError> {
        let named = named_in_connection(head.headers.all("connection"));
        if named.iter().any(|name| is_protected(name)) {
            return Err(ProxyError::Form("Connection names a field that is not this hop's to remove"));
        }
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let (resume, aimed) = (Resume::AsAsked, None);
        Ok(Self { head, service, peer, via: via.of(head.version), is_mcp, named, target, aimed, authority, resume })
    }

    /// The method.
    pub(super) fn method(&self) -> &Method {
        &self.head.method
    }

    /// What was asked, and by whom, as long as that is of use.
    pub(super) fn keep(&self) -> (Rc<RequestHead>, Rc<Peer>) {
        (self.head.clone(), self.peer.clone())
    }

    /// Whose it is.
    pub(super) fn peer(&self) -> &Peer {
        self.peer
    }

    /// The fields of the client's.
    pub(super) fn headers(&self) -> &Fields {
        &self.head.headers
    }

    /// A field of the client's.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.headers.get(name)
    }

    /// The target is asked for instead, from now on.
    pub(super) fn aim(&mut self, target: Uri) {
        self.aimed = Some(Box::new(target));
    }

    /// What a stream is resumed by, from now on.
    pub(super) fn resume(&mut self, resume: Resume) {
        self.resume = resume;
    }

    /// Behind which event a stream is to go on, if not from now on.
    pub(super) fn goes_on_behind(&self) -> Option<&[u8]> {
        if matches!(self.resume, Resume::Fresh) { None } else { self.header("last-event-id") }
    }

    /// What by it and others of its session are the same, so that the next can be written without it.
    pub(super) fn letterhead(&self) -> Letterhead {
        let mut lines = Vec::with_capacity(512);
        let host = self.authority.map(str::as_bytes).or_else(|| self.head.headers.get("host")).unwrap_or_default();
        let names_host = self.service.traffic.host == HostSeen::Client && !host.is_empty();
        if names_host {
            lines.put(b"host", &[host]);
        }
        self.put_fields(&mut lines, is_of_one_request);
        self.introduce(&mut lines, host);
        let (slash, target) = self.target();
        Letterhead::new(format!("{slash}{target}"), lines, names_host)
    }

    /// The target that an endpoint is asked for: path and query, without the prefix where that is stripped.
    pub(super) fn target(&self) -> (&'static str, &str) {
        match self.aimed.as_deref().or(self.target) {
            Some(target) => ("", path_and_query(target)),
            None => stripped(&self.head.uri, self.service),
        }
    }

    /// Writes the request's line and fields, and the empty line.
    pub(super) fn write(&self, out: &mut Vec<u8>, endpoint: &Endpoint, pin: Option<&SessionPin>, body: Length) {
        let (slash, target) = self.target();
        for part in [self.head.method.as_str(), " ", slash, target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        let host = self.put_own(out, endpoint, pin, body);
        if self.peer.trusted {
            self.introduce(out, host);
        } else {
            // What is said of a stranger is the same each time.
            self.peer.introduction.put(out, host, self.via, |lines| self.introduce(lines, host));
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Puts the fields that this endpoint is to see.
    pub(super) fn put(&self, out: &mut impl Lines, endpoint: &Endpoint, pin: Option<&SessionPin>, body: Length) {
        let host = self.put_own(out, endpoint, pin, body);
        self.introduce(out, host);
    }

    /// Puts what is of the request and the endpoint; gives the host that was asked for.
    fn put_own(&self, out: &mut impl Lines, endpoint: &Endpoint, pin: Option<&SessionPin>, body: Length) -> &[u8] {
        let asked_host = self.authority.map(str::as_bytes).or_else(|| self.head.headers.get("host"));
        match asked_host.filter(|_| self.service.traffic.host == HostSeen::Client) {
            Some(host) => out.put(b"host", &[host]),
            None => out.put(b"host", &[endpoint.host.as_bytes()]),
        }
        // The client's id is ours: the endpoint sees its own, or none.
        let pin = pin.filter(|pin| pin.stands_for == StandsFor::SessionId);
        if let Some(id) = pin.and_then(|pin| pin.upstream.as_deref()) {
            out.put(b"mcp-session-id", &[id.as_bytes()]);
        }
        if let Resume::Behind(last) = &self.resume {
            out.put(b"last-event-id", &[last]);
        }
        self.put_fields(out, |_| false);
        match body {
            // A length is expected of these, also where there is nothing (RFC 9110, 8.6).
            Length::Known(0) if !matches!(self.head.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Length::Known(length) => out.put(b"content-length", &[itoa::Buffer::new().format(length).as_bytes()]),
            // To be said, or with GET and HEAD it would be taken for none.
            Length::Unknown => out.put(b"transfer-encoding", &[b"chunked"]),
        }
        asked_host.unwrap_or_default()
    }

    /// The client's fields that go on, but for these.
    fn put_fields(&self, out: &mut impl Lines, but: impl Fn(&[u8]) -> bool) {
        let headers = &self.head.headers;
        let mut has_cookie = false;
        out.put_all(headers, |name, _| match self.fate(name) {
            _ if self.named.iter().any(|one| one == name) || but(name) => false,
            Fate::Stays => true,
            Fate::IsCookie => {
                has_cookie = true;
                false
            }
            Fate::Goes => false,
        });
        if has_cookie {
            put_cookies(out, headers);
        }
    }

    fn fate(&self, name: &[u8]) -> Fate {
        let goes = match name {
            b"connection"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
            | b"upgrade"
            | b"proxy-authorization"
            | b"keep-alive"
            | b"proxy-connection"
            | b"http2-settings"
            | b"content-length"
            | b"expect"
            | b"host"
            | b"mcp-session-id" => true,
            b"cookie" => return Fate::IsCookie,
            // Outcomes are read from the body; an encoded one could not be.
            b"accept-encoding" => self.is_mcp,
            // What a stranger wrote is replaced, a trusted proxy's list is continued.
            b"x-forwarded-for" | b"forwarded" => true,
            b"x-real-ip" => !self.peer.trusted,
            b"last-event-id" => !matches!(self.resume, Resume::AsAsked),
            _ if name.starts_with(b"x-forwarded-") => !self.peer.trusted,
            _ => is_alias(name),
        };
        if goes || is(name, &self.service.affinity.tester_header) { Fate::Goes } else { Fate::Stays }
    }

    /// `Via`, `X-Forwarded-*` and `Forwarded` (RFC 7239).
    fn introduce(&self, out: &mut impl Lines, host: &[u8]) {
        out.put(b"via", &[self.via.as_bytes()]);
        let Self { peer, head, .. } = self;
        let (hop, proto) = (peer.shown.as_bytes(), peer.scheme().as_bytes());
        let bracketed = if peer.shown.contains(':') { [&b"for=\"["[..], hop, b"]\""] } else { [&b"for="[..], hop, b""] };
        let rest = [&b";host=\""[..], host, b"\";proto=", proto];
        if peer.trusted {
            let chain = listed(&head.headers, X_FORWARDED_FOR);
            out.put(X_FORWARDED_FOR.as_bytes(), &[&chain, hop]);
            let elements = listed(&head.headers, "forwarded");
            out.put(b"forwarded", &[&[&elements[..]], &bracketed[..], &rest[..]].concat());
        } else {
            out.put(X_FORWARDED_FOR.as_bytes(), &[hop]);
            out.put(b"forwarded", &[bracketed[0], bracketed[1], bracketed[2], rest[0], rest[1], rest[2], rest[3]]);
        }
        if !peer.trusted || !head.headers.contains(X_FORWARDED_PROTO) {
            out.put(X_FORWARDED_PROTO.as_bytes(), &[proto]);
        }
        if !peer.trusted || !head.headers.contains(X_FORWARDED_HOST) {
            out.put(X_FORWARDED_HOST.as_bytes(), &[host]);
        }
    }
}

/// What becomes of a client's field.
enum Fate {
    Stays,
    Goes,
    IsCookie,
}

/// What trusted proxies have listed, to be continued.
fn listed(headers: &Fields, name: &str) -> Vec<u8> {
    let mut list = Vec::new();
    for value in headers.all(name).filter(|value| http1::text(value).is_some()) {
        list.extend_from_slice(value);
        list.extend_from_slice(b", ");
    }
    list
}

/// Over HTTP/2 cookies may come one a field; in HTTP/1.1 they are one field (RFC 9113, 8.2.3).
fn put_cookies(out: &mut impl Lines, headers: &Fields) {
    let all: Vec<&[u8]> = headers.all("cookie").collect();
    out.put(b"cookie", &[&all.join(&b"; "[..])]);
}

/// Cleans the head of an answer.
pub(super) fn clean_answer(head: &mut Head) {
    // An endpoint's Connection header that names what it must not is obeyed as far as it may be:
    // the client has done nothing wrong.
    let named = named_in_connection(head.all("connection"));
    head.retain(|name, _| !belongs_to_hop(name) && !named.iter().any(|one| name.eq_ignore_ascii_case(one) && !is_protected(one)));
    // There is none, so whatever it says is not so (RFC 9110, 8.6).
    if head.status() == StatusCode::NO_CONTENT {
        head.remove("content-length");
    }
}

/// The fields of a hop are told by their length first: nearly none is one.
fn belongs_to_hop(name: &[u8]) -> bool {
    match name.len() {
        2 => is(name, "te"),
        7 => is(name, "trailer") || is(name, "upgrade"),
        10 => is(name, "connection") || is(name, "keep-alive"),
        14 => is(name, "http2-settings"),
        16 => is(name, "proxy-connection"),
        17 => is(name, "transfer-encoding"),
        19 => is(name, "proxy-authorization"),
        _ => false,
    }
}

fn is(name: &[u8], word: &str) -> bool {
    name.eq_ignore_ascii_case(word.as_bytes())
}

/// Whether a body is in a coding that has to be undone before it can be read (RFC 9110, 8.4.1). `identity` is
/// none, nor is `none`, which servers write to keep middlemen from compressing their streams.
pub(super) fn is_encoded(head: &Head) -> bool {
    let codings = head.all("content-encoding").flat_map(|value| value.split(|byte| *byte == b','));
    let is_coding = |coding: &[u8]| ![&b""[..], b"identity", b"none"].iter().any(|none| coding.eq_ignore_ascii_case(none));
    codings.map(<[u8]>::trim_ascii).any(is_coding)
}

/// Whether a client closes its connection after the answer (RFC 9112, 9.3).
pub(super) fn says_close(headers: &Fields) -> bool {
    headers.all("connection").any(|value| mentions(value, b"close"))
}

/// Whether a value begins with a word, in whatever case.
pub(super) fn begins_with(value: &[u8], word: &str) -> bool {
    value.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a comma-separated list has this element.
pub(super) fn mentions(list: &[u8], element: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(element))
}

fn named_in_connection<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let names = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let options = |name: &[u8]| name.eq_ignore_ascii_case(b"close") || name.eq_ignore_ascii_case(b"keep-alive");
    names.filter(|name| !name.is_empty() && !options(name)).map(<[u8]>::to_ascii_lowercase).collect()
}

/// Fields that a client could make endpoints misunderstand by having a proxy remove them.
fn is_protected(name: &[u8]) -> bool {
    matches!(name, b"host" | b"content-length" | b"authorization" | b"forwarded" | b"origin" | b"via")
        || name.starts_with(b"mcp-")
        || name.starts_with(b"x-forwarded-")
}

/// Servers that turn `_` into `-` would take `X_Forwarded_For` for ours.
fn is_alias(name: &[u8]) -> bool {
    // Of those with a `-`: `content-length`, `mcp-` and `x-forwarded-`.
    let may_be = matches!(name, [b'c' | b'm' | b'x', ..]) && name.contains(&b'_');
    let real = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    may_be && is_protected(&name.iter().map(real).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::ClientTls;
    use crate::domain::machine::EndpointSpec;
    use crate::tls::Connector;

    const CONFIG: &str = r#"
        [[service]]
        name = "notes"
        [service.primary]
        version = "1"
        endpoints = ["http://127.0.0.1:3000"]
        [service.secondary]
        version = "2"
        endpoints = ["http://127.0.0.1:3001"]
    "#;

    fn peer(trusted: bool) -> Rc<Peer> {
        let address = "192.0.2.7:1".parse().unwrap();
        Rc::new(Peer {
            address,
            trusted,
            secure: false,
            is_local: false,
            shown: "192.0.2.7".into(),
            sessions: Default::default(),
            introduction: Default::default(),
        })
    }

    /// What an endpoint sees of these lines.
    fn seen(lines: &[(&'static str, &str)], peer: &Rc<Peer>) -> Result<HeaderMap, ProxyError> {
        let service = crate::config::load("f", CONFIG, None).unwrap().services.remove(0);
        let connector = Connector::new("t".to_owned(), &ClientTls::default());
        let spec = EndpointSpec { name: "e".to_owned(), url: "http://10.0.0.1:3000".to_owned(), resolve: None, address: None };
        let endpoint: Arc<Endpoint> = Endpoint::new(&spec, &connector).unwrap();
        let mut request = http::Request::new(());
        for (name, value) in lines {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let head = Rc::new(request.into_parts().0.into());
        let via = Via::new("dualgate-test").unwrap();
        let mut seen = HeaderMap::new();
        let outgoing = Outgoing::new(&head, &service, peer, &via, None, true)?;
        outgoing.put(&mut seen, &endpoint, None, Length::Known(0));
        let mut written = Vec::new();
        outgoing.write(&mut written, &endpoint, None, Length::Known(0));
        let text = String::from_utf8(written).unwrap();
        assert!(seen.iter().all(|(name, value)| text.contains(&format!("{name}: {}\r\n", value.to_str().unwrap()))), "{text}");
        Ok(seen)
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let ours = ["host", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        headers.keys().map(HeaderName::as_str).filter(|name| !ours.contains(name)).collect()
    }

    #[test]
    fn what_belongs_to_a_hop_stays_on_it() {
        let headers = [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "secret"),
            ("x-yours", "2"),
        ];
        assert_eq!(names(&seen(&headers, &peer(false)).unwrap()), ["x-yours"]);
    }

    #[test]
    fn connection_cannot_name_what_endpoints_rely_on() {
        for name in ["Host", "Mcp-Session-Id", "Authorization", "X-Forwarded-For", "Content-Length"] {
            assert!(seen(&[("connection", name)], &peer(false)).is_err(), "{name}");
        }
    }

    #[test]
    fn underscored_twins_of_our_fields_are_dropped_and_others_stay() {
        let headers = [("x_forwarded_for", "1"), ("mcp_session_id", "2"), ("content_length", "3"), ("my_own", "4"), ("mcp", "5")];
        assert_eq!(names(&seen(&headers, &peer(true)).unwrap()), ["my_own", "mcp"]);
    }

    #[test]
    fn an_answer_keeps_everything_but_what_belongs_to_its_hop() {
        let bytes = b"HTTP/1.1 200 Fine\r\nConnection: X-Hop, mcp-session-id\r\nx-hop: 1\r\nMCP-Session-Id: s\r\nKeep-Alive: timeout=5\r\n\
                      Transfer-Encoding: chunked\r\nX-Kept: 2\r\n\r\n";
        let Ok(http1::Read::Final(mut answer)) = http1::answer(bytes, &Method::GET) else { panic!() };
        clean_answer(&mut answer.head);
        let mut out = Vec::new();
        answer.head.write(&mut out);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\nMCP-Session-Id: s\r\nX-Kept: 2\r\n");
    }

    #[test]
    fn a_strangers_claims_are_replaced_and_a_trusted_list_is_continued() {
        let claims = [
            ("host", "notes.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "666"),
            ("x-real-ip", "6.6.6.6"),
        ];
        let headers = seen(&claims, &peer(false)).unwrap();
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert!(!headers.contains_key("x-forwarded-port") && !headers.contains_key("x-real-ip"));
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "notes.example");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"notes.example\";proto=http");

        let headers = seen(&claims, &peer(true)).unwrap();
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=6.6.6.6, for=192.0.2.7;host=\"notes.example\";proto=http");
    }
}
