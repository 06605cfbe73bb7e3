//! Descriptors: as many as the system gives, and no more connections than they carry.

use crate::config::Config;

/// Kept for listeners, files, checks, the admin API and the runtime.
const OWN: u64 = 128;

/// Raises the soft limit of open files to the hard one, and takes `limits.connections` down to
/// what fits under it: to run out of descriptors is to answer nobody, operators included.
pub(super) fn fit(config: &mut Config) {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX)
        .or_else(|_| rlimit::Resource::NOFILE.get().map(|(soft, _)| soft))
        .unwrap_or(u64::MAX);
    if let Some((most, warning)) = too_many(config.limits.connections, descriptors) {
        config.limits.connections = most;
        config.warnings.push(warning);
    }
}

/// A client's connection may need one to an endpoint.
fn too_many(wanted: usize, descriptors: u64) -> Option<(usize, String)> {
    let most = usize::try_from(descriptors.saturating_sub(OWN) / 2).unwrap_or(usize::MAX).max(1);
    (wanted > most).then(|| {
        let what = format!("limits.connections: {wanted} do not fit under {descriptors} open files (RLIMIT_NOFILE)");
        (most, format!("{what}; {most} are accepted at a time"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_have_no_descriptors_are_not_accepted() {
        let (most, warning) = too_many(100_000, 1024).unwrap();
        assert_eq!(most, 448);
        assert!(warning.contains("100000") && warning.contains("1024") && warning.contains("448"), "{warning}");
        assert_eq!(too_many(448, 1024), None);
        assert_eq!(too_many(100_000, u64::MAX), None);
        assert_eq!(too_many(2, 0).unwrap().0, 1, "none at all would be a proxy that hangs");
    }
}
