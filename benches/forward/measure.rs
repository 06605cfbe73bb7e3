//! What /proc says of a process, and medians.

use std::fs;

/// User and system time of all threads, in nanoseconds.
pub fn cpu(pid: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()).map(|text| first(&text)).sum()
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> u64 {
    field(pid, "status", "VmRSS:")
}

/// The limit on open descriptors.
pub fn descriptors(pid: u32) -> u64 {
    field(pid, "limits", "Max open files")
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).map(first).unwrap()
}

fn first(text: &str) -> u64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// One window of calls.
#[derive(Clone, Copy)]
pub struct Window {
    /// Answers a second.
    pub rate: f64,
    /// Microseconds of the proxy's CPU a request.
    pub cpu: f64,
    /// How busy the proxy was: 1 is a whole core.
    pub busy: f64,
    /// All that was asked, before and after the window too.
    pub sums: Sums,
}

/// What the load has counted.
#[derive(Clone, Copy, Default)]
pub struct Sums {
    /// Calls that were answered.
    pub answers: u64,
    /// Those of them with `isError`.
    pub errors: u64,
    /// Sessions that were begun.
    pub sessions: u64,
    /// Altered session ids that were refused.
    pub refused: u64,
}

impl Window {
    /// From the line that the load prints.
    pub fn read(line: &str) -> Self {
        let numbers: Vec<f64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [answers, elapsed, cpu, all @ ..] = &numbers[..] else { unreachable!("the load prints seven numbers") };
        let [answered, errors, sessions, refused] = all.iter().map(|number| *number as u64).collect::<Vec<_>>()[..] else {
            unreachable!("the load prints seven numbers")
        };
        let sums = Sums { answers: answered, errors, sessions, refused };
        Self { rate: answers / elapsed * 1e9, cpu: cpu / answers / 1e3, busy: cpu / elapsed, sums }
    }
}

impl std::ops::Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            answers: self.answers + other.answers,
            errors: self.errors + other.errors,
            sessions: self.sessions + other.sessions,
            refused: self.refused + other.refused,
        }
    }
}

/// Least, median and greatest.
pub fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}
