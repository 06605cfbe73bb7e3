use super::*;
use crate::domain::{Blame, ClientKey, KeySource};

fn client(n: u32) -> Option<Client> {
    Some(Client::of_session(format!("{n:0>40}").as_bytes()))
}

fn end(tally: &EntryTally, tool: Option<&str>, outcome: Outcome, client: Option<Client>) {
    tally.end(Ended { tool, outcome, elapsed: Duration::from_millis(10), is_answered: true, client });
}

#[test]
fn a_watcher_sees_all_that_came_since_it_looked_last_and_nothing_that_came_before() {
    let tally = Arc::<EntryTally>::default();
    end(&tally, Some("search"), Outcome::ToolError, client(1));
    let mut watch = tally.watch();
    assert_eq!(watch.take(), Figures::default());
    for n in 0..30 {
        let outcome = if n % 3 == 0 { Outcome::ToolError } else { Outcome::Ok };
        end(&tally, Some(if n % 2 == 0 { "search" } else { "write" }), outcome, client(n % 5));
    }
    end(&tally, None, Outcome::ProtocolError, client(9));
    end(&tally, None, Outcome::Failed(Blame::Client), client(10));
    end(&tally, Some("search"), Outcome::Failed(Blame::Proxy), client(11));
    let figures = watch.take();
    assert_eq!((figures.all.requests, figures.all.faults, figures.clients), (31, 11, 6));
    assert_eq!((figures.all.faulty.clients(), figures.all.faulty.others), (6, 0));
    assert_eq!(figures.all.times.count(), 31);
    let mut callers: Vec<_> = figures.callers.iter().map(|caller| (caller.requests, caller.faults)).collect();
    callers.sort_unstable();
    // Neither what a client broke off nor what the proxy did is among them.
    assert_eq!(callers, [(1, 1), (6, 2), (6, 2), (6, 2), (6, 2), (6, 2)]);
    let search = &figures.tools["search"];
    assert_eq!((search.requests, search.faults, search.times.count()), (15, 5, 15));
    // Of 0, 6, 12, 18, 24 each is another one of five.
    assert_eq!((search.faulty.clients(), search.faulty.squares()), (5, 5.0));
    assert_eq!(watch.take(), Figures::default());
}

#[test]
fn watchers_take_nothing_from_each_other() {
    let tally = Arc::<EntryTally>::default();
    let (mut rollout, mut monitor) = (tally.watch(), tally.watch());
    end(&tally, Some("search"), Outcome::ToolError, client(1));
    let seen = rollout.take();
    end(&tally, Some("search"), Outcome::ToolError, client(2));
    let all = monitor.take();
    assert_eq!((all.all.faults, all.clients, all.tools["search"].faulty.clients()), (2, 2, 2));
    assert_eq!((seen.all.faults, rollout.take().all.faults), (1, 1));
}

#[test]
fn nothing_is_collected_when_nobody_watches() {
    let tally = Arc::<EntryTally>::default();
    let watch = tally.watch();
    let collector = watch.collector.clone();
    drop(watch);
    assert!(!tally.is_watched());
    end(&tally, Some("search"), Outcome::ToolError, client(1));
    assert_eq!((collector.clients.take(), collector.faults().all.by_client.len()), (0, 0));
    assert!(collector.callers.take().is_empty());
    assert!(tally.evidence.collectors.load().is_empty());
    let total = tally.total();
    assert_eq!((total.all.requests, total.all.faults, total.clients, total.all.faulty.clients()), (1, 1, 0, 0));
    assert_eq!(total.tools["search"].times.count(), 1);
}

#[test]
fn a_request_without_an_answer_has_no_time_to_it() {
    let tally = Arc::<EntryTally>::default();
    let ended = Ended {
        tool: Some("search"),
        outcome: Outcome::Failed(Blame::Entry),
        elapsed: Duration::from_secs(60),
        is_answered: false,
        client: None,
    };
    tally.end(ended);
    let total = tally.total();
    assert_eq!((total.all.requests, total.all.faults, total.all.times.count()), (1, 1, 0));
}

#[test]
fn clients_beyond_the_bound_count_as_one() {
    let tally = Arc::<EntryTally>::default();
    let mut watch = tally.watch();
    (0..6_000).for_each(|n| end(&tally, Some("search"), Outcome::ToolError, client(n)));
    end(&tally, Some("search"), Outcome::ToolError, None);
    let figures = watch.take();
    assert_eq!((figures.all.faulty.clients(), figures.all.faulty.others), (1_001, 5_001));
    let search = &figures.tools["search"].faulty;
    assert_eq!((search.clients(), search.others), (4_001, 2_001));
    // A span later there is room again.
    end(&tally, Some("search"), Outcome::ToolError, client(5_999));
    assert_eq!(watch.take().all.faulty.others, 0);
}

#[test]
fn tools_beyond_those_that_are_told_apart_are_one_to_the_judge_too() {
    let tally = Arc::<EntryTally>::default();
    let mut watch = tally.watch();
    (0..1_000).for_each(|n| end(&tally, Some(&format!("tool-{n}")), Outcome::ToolError, client(n)));
    let figures = watch.take();
    assert_eq!(figures.tools.len(), 201);
    let other = &figures.tools["other"];
    assert_eq!((other.requests, other.faulty.clients()), (800, 800));
}

#[test]
fn a_version_begins_with_counts_of_its_own() {
    let before = Arc::<EntryTally>::default();
    let mut watch = before.watch();
    let after = Arc::new(before.succeeded());
    end(&after, None, Outcome::ToolError, Some(Client::of_key(ClientKey::new(&KeySource::ApiKey, b"k"))));
    assert_eq!(watch.take(), Figures::default());
    assert!(watch.is_of(&before) && !watch.is_of(&after) && !after.is_watched());
    assert_eq!(after.total().all.faults, 1);
}

#[test]
fn the_last_request_is_the_one_that_was_sent_last() {
    let tally = EntryTally::default();
    assert_eq!(tally.last_request(), None);
    let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
    [5, 9, 7].into_iter().for_each(|seconds| tally.note_sent(at(seconds)));
    assert_eq!(tally.last_request(), Some(at(9)));
}

#[test]
fn no_fault_is_lost_while_a_watcher_takes() {
    let tally = Arc::<EntryTally>::default();
    let mut watch = tally.watch();
    let (mut faults, mut met) = (0, 0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let tally = &tally;
                scope.spawn(move || {
                    (0..2_000).for_each(|n| end(tally, Some("search"), Outcome::ToolError, client(worker * 7 + n % 7)))
                })
            })
            .collect();
        let mut is_over = false;
        while !is_over {
            is_over = workers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let figures = watch.take();
            faults += figures.all.faults;
            let search = figures.tools.get("search").map(|calls| calls.faulty.clone()).unwrap_or_default();
            met += u64::from(search.clients() > 0);
        }
    });
    assert_eq!(faults, 6_000);
    assert!(met > 0);
}
