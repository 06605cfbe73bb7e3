//! Who is at the other end.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;

use super::keys::CREDENTIALS;
use super::listen::Door;
use super::rehome::{Lodger, Session};
use crate::config::Limits;
use crate::http1::{self, Fields};
use crate::mcp::{SealKeys, SessionPin};

/// The header in which proxies list the clients they speak for.
pub(super) const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A client connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The address of the connection.
    pub(super) address: SocketAddr,
    /// Whether it is one of `trusted_proxies`.
    pub(super) trusted: bool,
    /// Whether it came over TLS.
    pub(super) secure: bool,
    /// Whether it came to a listener that only this machine can reach.
    pub(super) is_local: bool,
    /// Its address, as it is written for endpoints.
    pub(super) shown: Box<str>,
    /// The session that it used last.
    pub(super) sessions: Opened,
    /// What is said of it to endpoints.
    pub(super) introduction: Introduction,
}

/// The lines that introduce a stranger, as they were written last: they change with the host that it asks for and
/// nothing else. They are kept from the second request on, which most connections of one request never have.
#[derive(Clone, Debug, Default)]
pub(super) struct Introduction {
    is_known: Cell<bool>,
    last: RefCell<Option<Box<Introduced>>>,
}

#[derive(Clone, Debug)]
struct Introduced {
    host: Vec<u8>,
    via: HeaderValue,
    lines: Vec<u8>,
}

impl Introduction {
    /// Puts the lines for this host and this `Via`.
    pub(super) fn put(&self, out: &mut Vec<u8>, host: &[u8], via: &HeaderValue, write: impl Fn(&mut Vec<u8>)) {
        if let Some(last) = &*self.last.borrow()
            && last.host == host
            && last.via == via
        {
            return out.extend_from_slice(&last.lines);
        }
        if !self.is_known.replace(true) {
            return write(out);
        }
        let mut lines = Vec::with_capacity(256);
        write(&mut lines);
        out.extend_from_slice(&lines);
        *self.last.borrow_mut() = Some(Box::new(Introduced { host: host.to_vec(), via: via.clone(), lines }));
    }
}

/// The session id that was opened last on a connection. Most clients use one and no other, and an id that is the same in
/// each of its bytes opens to the same: keys are added while the process runs, and none is taken away.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened(RefCell<Option<Box<Last>>>);

#[derive(Clone, Debug)]
struct Last {
    service: String,
    id: Rc<HeaderValue>,
    pin: SessionPin,
    /// The session, and by which credentials it was found.
    resident: Option<Resident>,
}

#[derive(Clone)]
struct Resident {
    credentials: [Option<Box<[u8]>>; CREDENTIALS.len()],
    session: Lodger,
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resident")
    }
}

impl Opened {
    /// Opens an id; nothing where it does not open for this service.
    pub(super) fn open(&self, keys: &SealKeys, service: &str, id: &[u8]) -> Option<(Rc<HeaderValue>, SessionPin)> {
        if let Some(last) = &*self.0.borrow()
            && last.service == service
            && last.id.as_bytes() == id
        {
            return Some((last.id.clone(), last.pin.clone()));
        }
        let pin = keys.open(service, id)?;
        let session = Rc::new(HeaderValue::from_bytes(id).ok()?);
        let last = Last { service: service.to_owned(), id: session.clone(), pin: pin.clone(), resident: None };
        *self.0.borrow_mut() = Some(Box::new(last));
        Some((session, pin))
    }

    /// The session of an id that was opened here, and of these credentials, found as `find` does.
    pub(super) fn resident(
        &self,
        id: &Rc<HeaderValue>,
        credentials: [Option<&[u8]>; CREDENTIALS.len()],
        find: impl FnOnce() -> Option<Arc<Session>>,
    ) -> Option<Lodger> {
        let is_last = |last: &Last| Rc::ptr_eq(&last.id, id);
        if let Some(last) = self.0.borrow().as_ref().filter(|last| is_last(last))
            && let Some(resident) = &last.resident
            && resident.credentials.iter().map(Option::as_deref).eq(credentials)
        {
            return Some(resident.session.clone());
        }
        let session = Lodger::new(find()?);
        if let Some(last) = self.0.borrow_mut().as_mut().filter(|last| is_last(last)) {
            let credentials = credentials.map(|value| value.map(Box::from));
            last.resident = Some(Resident { credentials, session: session.clone() });
        }
        Some(session)
    }
}

impl Peer {
    pub(super) fn new(address: SocketAddr, door: &Door, limits: &Limits) -> Self {
        let shown = address.ip().to_canonical().to_string().into();
        let trusted = trusts(limits, address.ip());
        let (sessions, introduction) = (Opened::default(), Introduction::default());
        Self { address, trusted, secure: door.tls.is_some(), is_local: door.is_local, shown, sessions, introduction }
    }

    /// Lets go of what would only make its next request cheaper.
    pub(super) fn forget(&self) {
        self.sessions.0.take();
        self.introduction.last.take();
    }

    /// The scheme that the client used.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The client's address: behind trusted proxies, the last one in `X-Forwarded-For` that is not
    /// itself trusted. What stands further left was written by the client and counts for nothing.
    pub(super) fn client(&self, headers: &Fields, limits: &Limits) -> IpAddr {
        let connected = self.address.ip().to_canonical();
        if !self.trusted {
            return connected;
        }
        let listed = headers.all(X_FORWARDED_FOR).filter_map(http1::text);
        let hops: Vec<&str> = listed.flat_map(|list| list.split(',')).collect();
        // From the right, as far as it can be read: what the client put in front cannot hide it.
        let mut client = connected;
        for hop in hops.iter().rev().map_while(|hop| hop.trim().parse::<IpAddr>().ok()) {
            client = hop.to_canonical();
            if !trusts(limits, client) {
                break;
            }
        }
        client
    }

    /// The same as text.
    pub(super) fn client_shown(&self, headers: &Fields, limits: &Limits) -> Cow<'_, str> {
        if self.trusted { self.client(headers, limits).to_string().into() } else { Cow::Borrowed(&*self.shown) }
    }
}

fn trusts(limits: &Limits, address: IpAddr) -> bool {
    limits.trusted_proxies.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use crate::domain::Entry;
    use crate::mcp::{Secret, StandsFor};
    use std::time::Duration;

    fn client(peer: &str, listed: &str) -> String {
        let limits = Limits {
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            connections: 1,
            requests: 1,
            trusted_proxies: vec![Network::parse("10.0.0.0/8").unwrap()],
        };
        let mut headers = Fields::default();
        headers.append(X_FORWARDED_FOR.as_bytes(), listed.as_bytes());
        let door = Door { tls: None, is_local: true };
        Peer::new(SocketAddr::new(peer.parse().unwrap(), 1), &door, &limits).client(&headers, &limits).to_string()
    }

    #[test]
    fn an_id_opens_as_it_did_and_an_altered_one_never() {
        let keys = SealKeys::new(&[Secret::new([7; 32])], [1; 12]);
        let pin = |endpoint: &str| SessionPin {
            stands_for: StandsFor::SessionId,
            entry: Entry::Secondary,
            endpoint: endpoint.into(),
            revision: 1,
            upstream: None,
        };
        let (one, two) = (keys.seal("notes", &pin("a")).unwrap(), keys.seal("notes", &pin("b")).unwrap());
        let opened = Opened::default();
        let open = |service, id: &str| opened.open(&keys, service, id.as_bytes()).map(|(_, pin)| pin.endpoint.to_string());
        for id in [&one, &one, &two, &one] {
            let endpoint = if *id == one { "a" } else { "b" };
            assert_eq!(open("notes", id).as_deref(), Some(endpoint));
            assert_eq!(open("other", id), None, "it is another service's");
            for at in 0..id.len() {
                let mut altered = id.clone().into_bytes();
                altered[at] ^= 1;
                assert_eq!(open("notes", str::from_utf8(&altered).unwrap()), None, "{at}");
            }
            assert_eq!(open("notes", &id[..id.len() - 1]), None);
        }
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        assert_eq!(client("192.0.2.1", "1.1.1.1"), "192.0.2.1", "a stranger may write what it likes");
        assert_eq!(client("10.0.0.1", "1.1.1.1"), "1.1.1.1");
        assert_eq!(client("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.9"), "1.1.1.1", "the client cannot prepend itself away");
        assert_eq!(client("10.0.0.1", "10.0.0.7, 10.0.0.9"), "10.0.0.7");
        assert_eq!(client("10.0.0.1", "nonsense"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "nonsense, 1.1.1.1"), "1.1.1.1", "nor can it hide behind nonsense");
    }
}
