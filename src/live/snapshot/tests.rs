use proptest::prelude::*;

use super::*;
use crate::config::ClientTls;
use crate::domain::affinity::Rendezvous;
use crate::domain::machine::EndpointSpec;
use crate::domain::{KeySource, Phase, Salt, Split};
use crate::tls::Connector;
use crate::upstream::Ticket;

#[test]
fn only_an_instance_of_this_version_is_waited_for() {
    let unresolved =
        EntryView { version: "1.0".to_owned(), endpoints: Endpoints::default(), unresolved: true, tally: Arc::default() };
    let named = |name: &str| {
        let spec = EndpointSpec::new(name, "http://notes:1");
        Endpoint::new(&spec, &Connector::new("test".to_owned(), &ClientTls::default())).unwrap()
    };
    let awaits = |name: &str| unresolved.awaits_pinned(&unresolved.pin(Entry::Primary, &named(name)));
    assert!(awaits("a@10.0.0.7"));
    assert!(!awaits("a"), "an endpoint with a URL is there from the start, or never");
    let other = Pin { version: version_hash("0.9"), ..unresolved.pin(Entry::Primary, &named("a@10.0.0.7")) };
    assert!(!unresolved.awaits_pinned(&other), "what it knew is gone");
    let resolved = EntryView { unresolved: false, ..unresolved };
    assert!(!resolved.awaits_pinned(&resolved.pin(Entry::Primary, &named("a@10.0.0.7"))));
}

const SERVICE: &str = "[service.primary]\nversion = \"1\"\nendpoints = [\"http://127.0.0.1:1\"]\n\
    [service.secondary]\nversion = \"2\"\nendpoints = [\"http://127.0.0.1:2\"]\n";

/// A service of which nothing is known yet, by a name.
pub(crate) fn service(name: &str) -> ServiceView {
    let config = config::load("test.toml", &format!("[[service]]\nname = \"{name}\"\n{SERVICE}"), None).unwrap();
    let entry =
        |_| EntryView { version: "1".to_owned(), endpoints: Endpoints::default(), unresolved: false, tally: Arc::default() };
    let scene = Scene {
        split: Split::giving(Entry::Secondary, Share::NONE),
        salt: Salt::new([1; 16]),
        phase: Phase::from_random(0),
        stable: Entry::Primary,
        condemned: PerEntry::default(),
        standing: PerEntry::from_fn(|_| Standing::Up),
        failover: true,
        serves: PerEntry::default(),
        offers_modern: false,
    };
    ServiceView {
        config: Arc::new(config.services.into_iter().next().unwrap()),
        revision: 1,
        scene,
        births: Arc::default(),
        starting: false,
        entries: PerEntry::from_fn(entry),
        evictions: PerEntry::default(),
        tally: Arc::default(),
        pins: Arc::default(),
        catalogue: Arc::default(),
        is_in_rollout: false,
        residents: Arc::default(),
    }
}

/// Services with a host or without, and a path.
fn services(of: &[(Option<u8>, &str)]) -> Vec<config::Service> {
    let one = |(at, (host, path)): (usize, &(Option<u8>, &str))| {
        let hosts = host.map(|host| format!("\"h{host}.example\"")).unwrap_or_default();
        let service = SERVICE.replace("0.1:", &format!("{}.1:", at + 1));
        format!("[[service]]\nname = \"s{at}\"\nhosts = [{hosts}]\npath = \"{path}\"\n{service}")
    };
    let text: String = of.iter().enumerate().map(one).collect();
    config::load("test.toml", &text, None).map(|config| config.services).unwrap_or_default()
}

const PATHS: [&str; 8] = ["/", "/a", "/a/b", "/ab", "/a/b/c", "/notes", "/n", "/ü"];

proptest! {
    #[test]
    fn a_request_is_for_the_first_service_that_serves_it(
        of in prop::collection::btree_set((prop::option::of(0u8..3), prop::sample::select(PATHS.to_vec())), 1..12),
        host in 0u8..4,
        path in prop::sample::select(PATHS.to_vec()),
        rest in prop::sample::select(vec!["", "/", "/mcp", "?x", "/b", "b", "//", "/b/c/d", "ü", "\u{e9}"]),
    ) {
        let of: Vec<_> = of.into_iter().collect();
        let services = services(&of);
        prop_assert_eq!(services.len(), of.len());
        let (host, path) = (format!("h{host}.example"), format!("{path}{rest}"));
        let first = services.iter().position(|service| service.serves(&host, &path));
        prop_assert_eq!(Routes::of(services.iter()).find(&host, &path), first, "{} {}", host, path);
    }

    #[test]
    fn a_new_client_goes_where_a_look_at_every_endpoint_would_send_it(
        of in prop::collection::vec((0u8..3, prop::bool::weighted(0.2), 0usize..4), 0..12),
        tried in prop::collection::vec(0usize..12, 0..3),
        turn in 0u64..30,
        key in prop::option::of(any::<u64>()),
    ) {
        let standings = [Standing::Down, Standing::Unknown, Standing::Up];
        let views: Vec<_> = of.iter().enumerate().map(|(at, one)| view(at, standings[usize::from(one.0)], one.1)).collect();
        let held: Vec<Ticket> = views.iter().zip(&of)
            .flat_map(|(view, one)| (0..one.2).filter_map(|_| Ticket::take(&view.endpoint)))
            .collect();
        let tried: Vec<u64> = tried.iter().filter_map(|at| views.get(*at)).map(|view| view.endpoint.id).collect();
        let entry = EntryView { version: "1".into(), endpoints: views.into_iter().collect(), unresolved: false, tally: Arc::default() };
        let key = key.map(|key| ClientKey::new(&KeySource::ApiKey, &key.to_le_bytes()));
        let picked = entry.pick(key, &tried, turn).map(|view| view.endpoint.id);
        prop_assert_eq!(picked, looked_for(&entry, key, &tried, turn));
        for (at, view) in entry.endpoints.iter().enumerate() {
            prop_assert_eq!(entry.named(&format!("notes-{at}")).map(|view| view.endpoint.id), Some(view.endpoint.id));
            prop_assert_eq!(entry.pinned(&entry.pin(Entry::Primary, &view.endpoint)).map(|view| view.endpoint.id), Some(view.endpoint.id));
            prop_assert!(Arc::ptr_eq(entry.tally_at(Some(&view.endpoint)), &view.tally));
        }
        prop_assert!(entry.named("notes").is_none() && held.len() < 100);
    }
}

fn view(at: usize, standing: Standing, leaving: bool) -> EndpointView {
    let spec = EndpointSpec::new(format!("notes-{at}"), format!("http://127.0.0.1:{}", 3_000 + at));
    let endpoint = Endpoint::new(&spec, &Connector::new("test".to_owned(), &ClientTls::default())).unwrap();
    EndpointView { standing, leaving, endpoint, version: "1".to_owned(), tally: Arc::default() }
}

/// The rule as it is written: of those that stand best, by weight or by what they hold and whose turn it is.
fn looked_for(entry: &EntryView, key: Option<ClientKey>, tried: &[u64], turn: u64) -> Option<u64> {
    let open = || entry.endpoints.iter().filter(|view| !view.leaving && !tried.contains(&view.endpoint.id));
    let best = open().map(|view| view.standing).max()?;
    let usable: Vec<_> = open().filter(|view| view.standing == best).collect();
    let count = usable.len() as u64;
    let found = match key {
        Some(key) => usable.iter().max_by_key(|view| Rendezvous::of(&view.endpoint.name).weight(key)),
        None => {
            let place = |at: usize| (at as u64 + count - turn % count) % count;
            let ranked = usable.iter().enumerate().min_by_key(|(at, view)| (view.endpoint.gate.inside(), place(*at)));
            ranked.map(|(_, view)| view)
        }
    };
    found.map(|view| view.endpoint.id)
}
