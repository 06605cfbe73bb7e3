//! The endpoints of an entry, found in a time that does not grow with their number.

use std::ops::Deref;

use super::EndpointView;
use super::quick::QuickMap;
use crate::domain::affinity::Rendezvous;
use crate::domain::{ClientKey, Standing};
use crate::live::pins::endpoint_hash;

/// Endpoints with what is looked up in them, which is made when they change and not when it is asked.
#[derive(Default)]
pub struct Endpoints {
    all: Vec<EndpointView>,
    by_name: QuickMap<String>,
    by_hash: QuickMap<u32>,
    by_id: QuickMap<u64>,
    /// Those that new clients may go to: of those that stand best, who is not leaving.
    best: Option<Standing>,
    usable: Vec<(Rendezvous, usize)>,
}

impl FromIterator<EndpointView> for Endpoints {
    fn from_iter<T: IntoIterator<Item = EndpointView>>(endpoints: T) -> Self {
        let mut made = Self { all: endpoints.into_iter().collect(), ..Self::default() };
        let open = || made.all.iter().enumerate().filter(|(_, view)| !view.leaving);
        made.best = open().map(|(_, view)| view.standing).max();
        let usable = open().filter(|(_, view)| Some(view.standing) == made.best);
        made.usable = usable.map(|(at, view)| (Rendezvous::of(&view.endpoint.name), at)).collect();
        for (at, view) in made.all.iter().enumerate() {
            made.by_name.entry(view.endpoint.name.clone()).or_insert(at);
            made.by_hash.entry(endpoint_hash(&view.endpoint.name, view.endpoint.host.as_bytes())).or_insert(at);
            made.by_id.entry(view.endpoint.id).or_insert(at);
        }
        made
    }
}

impl Deref for Endpoints {
    type Target = [EndpointView];

    fn deref(&self) -> &[EndpointView] {
        &self.all
    }
}

impl Endpoints {
    pub(super) fn named(&self, name: &str) -> Option<&EndpointView> {
        self.by_name.get(name).map(|at| &self.all[*at])
    }

    pub(super) fn hashed(&self, hash: u32) -> Option<&EndpointView> {
        self.by_hash.get(&hash).map(|at| &self.all[*at])
    }

    pub(super) fn of_id(&self, id: u64) -> Option<&EndpointView> {
        self.by_id.get(&id).map(|at| &self.all[*at])
    }

    /// The best standing of those that were not tried and are not leaving.
    pub(super) fn best(&self, tried: &[u64]) -> Option<Standing> {
        if tried.is_empty() {
            return self.best;
        }
        self.untried(tried).map(|view| view.standing).max()
    }

    pub(super) fn pick(&self, key: Option<ClientKey>, tried: &[u64], turn: u64) -> Option<&EndpointView> {
        if tried.is_empty() {
            let at = choose(&self.usable, |at| &self.all[at], key, turn)?;
            return self.all.get(at);
        }
        let best = self.best(tried)?;
        let usable = self.untried(tried).filter(|view| view.standing == best);
        let usable: Vec<_> = usable.map(|view| (Rendezvous::of(&view.endpoint.name), view)).collect();
        choose(&usable, |view| view, key, turn)
    }

    fn untried(&self, tried: &[u64]) -> impl Iterator<Item = &EndpointView> {
        self.all.iter().filter(|view| !view.leaving && !tried.contains(&view.endpoint.id))
    }
}

/// A keyed client's by rendezvous, else the one that holds the least: of those that hold as little, the first from
/// the one whose turn it is.
fn choose<'a, T: Copy>(
    usable: &[(Rendezvous, T)],
    view: impl Fn(T) -> &'a EndpointView,
    key: Option<ClientKey>,
    turn: u64,
) -> Option<T> {
    if let Some(key) = key {
        return usable.iter().max_by_key(|(rendezvous, _)| rendezvous.weight(key)).map(|(_, one)| *one);
    }
    let (before, from) = usable.split_at_checked((turn % usable.len().max(1) as u64) as usize)?;
    let mut least: Option<(u64, T)> = None;
    for (_, one) in from.iter().chain(before) {
        let held = view(*one).endpoint.gate.inside();
        if least.is_none_or(|(so_far, _)| held < so_far) {
            least = Some((held, *one));
        }
        if held == 0 {
            break;
        }
    }
    least.map(|(_, one)| one)
}
