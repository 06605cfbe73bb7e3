//! Laws of the split, over many keys and many salts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use dualgate::domain::{ClientKey, Entry, KeySource, Phase, Salt, Share, Split};
use dualgate::mcp::{SealKeys, Secret};
use proptest::prelude::*;

fn key(n: u32) -> ClientKey {
    ClientKey::new(&KeySource::ApiKey, format!("client-{n}").as_bytes())
}

fn secondary(points: u16) -> Split {
    Split::giving(Entry::Secondary, Share::from_basis_points(points).unwrap())
}

/// The acceptance run of the split, whole: ten thousand keys, a hundred steps up and back, and a
/// replica that knows nothing but the seal key.
#[test]
fn ten_thousand_clients_over_a_hundred_steps_never_move_back_and_all_return() {
    let replica = || SealKeys::new(&[Secret::new([42; 32])], [0; 12]).salt("notes", 1);
    let (one, two) = (replica(), replica());
    let clients: Vec<ClientKey> = (0..10_000).map(key).collect();
    let sides =
        |salt: &Salt, points: u16| -> Vec<Entry> { clients.iter().map(|key| secondary(points).of_client(salt, *key)).collect() };
    let mut up = vec![sides(&one, 0)];
    for percent in 1..=100u16 {
        let now = sides(&one, percent * 100);
        assert_eq!(now, sides(&two, percent * 100), "the replica disagrees at {percent} %");
        let back = up
            .last()
            .unwrap()
            .iter()
            .zip(&now)
            .filter(|(before, after)| **before == Entry::Secondary && **after == Entry::Primary);
        assert_eq!(back.count(), 0, "moved back at {percent} %");
        let share = now.iter().filter(|side| **side == Entry::Secondary).count() as f64 / 10_000.0;
        let target = f64::from(percent) / 100.0;
        let deviation = (target * (1.0 - target) / 10_000.0).sqrt();
        assert!((share - target).abs() <= 4.0 * deviation, "{share} at {percent} %: more than four standard deviations off");
        up.push(now);
    }
    for percent in (0..=100u16).rev() {
        assert_eq!(sides(&one, percent * 100), up[percent as usize], "not restored at {percent} %");
    }
    assert!(up[0].iter().all(|side| *side == Entry::Primary) && up[100].iter().all(|side| *side == Entry::Secondary));
}

proptest! {
    #[test]
    fn raising_the_share_never_moves_a_client_back(client: u64, salt: [u8; 16], low in 0u16..=10_000, high in 0u16..=10_000) {
        let (low, high) = (low.min(high), low.max(high));
        let key = ClientKey::new(&KeySource::Address, &client.to_le_bytes());
        let salt = Salt::new(salt);
        if secondary(low).of_client(&salt, key) == Entry::Secondary {
            prop_assert_eq!(secondary(high).of_client(&salt, key), Entry::Secondary);
        }
    }

    #[test]
    fn nothing_and_everything_are_exact(client: u64, salt: [u8; 16], birth: u64, phase: u64) {
        let key = ClientKey::new(&KeySource::Address, &client.to_le_bytes());
        let salt = Salt::new(salt);
        for entry in Entry::BOTH {
            prop_assert_eq!(Split::all_to(entry).of_client(&salt, key), entry);
            prop_assert_eq!(Split::all_to(entry).of_birth(birth, Phase::from_random(phase)), entry);
        }
    }

    #[test]
    fn any_run_of_births_is_within_one_of_its_target(from in 0u64..1 << 60, count in 0u64..2000, points in 0u16..=10_000, phase: u64) {
        let split = secondary(points);
        let phase = Phase::from_random(phase);
        let got = (from..from + count).filter(|n| split.of_birth(*n, phase) == Entry::Secondary).count() as f64;
        let target = count as f64 * f64::from(points) / 10_000.0;
        prop_assert!((got - target).abs() <= 1.0, "{} of {}, target {}", got, count, target);
    }

    #[test]
    fn a_split_reads_what_it_writes(points in 0u16..=10_000) {
        let split = secondary(points);
        prop_assert_eq!(Split::parse(&split.to_string()).unwrap(), split);
        prop_assert_eq!(Share::from_percent(split.share(Entry::Primary).percent()).unwrap(), split.share(Entry::Primary));
    }
}
