use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::domain::machine::{Brake, Durable, Found};
use crate::live::{Memory, Report, Saving, StoreError};

/// A disk that refuses so many lines first.
#[derive(Default)]
struct Refusing {
    refusals: AtomicU32,
    memory: Memory,
}

impl Store for Refusing {
    fn load(&self, service: &str) -> Result<Found, StoreError> {
        self.memory.load(service)
    }

    fn stored_revision(&self, service: &str) -> u64 {
        self.memory.stored_revision(service)
    }

    fn save(&self, service: &str, state: &Durable, expected: u64) -> Result<(), StoreError> {
        self.memory.save(service, state, expected)
    }

    fn save_all(&self, saves: &[Saving]) -> Result<(), StoreError> {
        self.memory.save_all(saves)
    }

    fn brake(&self, service: &str, brake: &Brake) -> Result<(), StoreError> {
        self.memory.brake(service, brake)
    }

    fn audit(&self, line: &str) -> Result<(), StoreError> {
        let left = self.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => {
                let error = std::io::ErrorKind::StorageFull.into();
                Err(StoreError::Io { path: "audit.jsonl".to_owned(), error })
            }
            Err(_) => self.memory.audit(line),
        }
    }

    fn audit_tail(&self, most: usize) -> Result<Vec<String>, StoreError> {
        self.memory.audit_tail(most)
    }

    fn audit_after(&self, seq: u64, most: usize) -> Result<Vec<String>, StoreError> {
        self.memory.audit_after(seq, most)
    }

    fn keep_dead_letter(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn dead_letters(&self, _: usize) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn audit_verify(&self) -> Result<Report, StoreError> {
        self.memory.audit_verify()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

fn attempt(path: &str) -> Denied<'_> {
    Denied { actor: None, address: Some("127.0.0.1".to_owned()), method: "GET", path, why: "no-valid-token", status: 401 }
}

fn kinds(audit: &Audit) -> Vec<String> {
    audit.tail(10_000).unwrap().iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
}

async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within ten seconds");
}

#[tokio::test]
async fn a_line_that_cannot_be_written_is_kept_and_tried_again() {
    let audit = Audit::start(Arc::new(Refusing { refusals: 2.into(), ..Refusing::default() }));
    audit.write(json!({ "type": "split" }));
    audit.write(json!({ "type": "rollback" }));
    until(|| !audit.warnings().is_empty()).await;
    let warning = audit.warnings().remove(0);
    assert!(warning.starts_with("the audit cannot be written (audit.jsonl: ") && warning.ends_with("2 lines wait"), "{warning}");
    assert_eq!(audit.behind(), 2);
    until(|| audit.behind() == 0).await;
    assert_eq!(kinds(&audit), ["split", "rollback"]);
    assert!(audit.warnings().is_empty());
}

#[tokio::test]
async fn a_flood_of_denials_is_counted_and_pushes_no_change_out() {
    let audit = Audit::start(Arc::new(Memory::default()));
    let long = "/x".repeat(4000);
    for _ in 0..5000 {
        audit.deny(&attempt(&long));
    }
    audit.write(json!({ "type": "rollback" }));
    audit.flush(Duration::from_secs(10)).await;
    let lines = audit.tail(10_000).unwrap();
    assert_eq!(lines.iter().filter(|line| line["type"] == "rollback").count(), 1);
    assert_eq!(lines[0]["path"].as_str().unwrap().len(), 256);
    assert_eq!(audit.behind(), 0);
    // Said without another attempt.
    until(|| kinds(&audit).contains(&"denied-more".to_owned())).await;
    let lines = audit.tail(10_000).unwrap();
    let denied = lines.iter().filter(|line| line["type"] == "denied").count() as u64;
    let more: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(denied + more, 5000);
    assert!(denied <= 20, "{denied}");
}

#[test]
fn a_cut_keeps_whole_characters() {
    assert_eq!(cut("aé", 2), "a");
    assert_eq!(cut("aé", 3), "aé");
}
