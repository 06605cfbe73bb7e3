//! What cannot change while the process runs: its listeners, its threads, and where its state and its keys are.

use crate::config::Config;

/// What another configuration would change of that, in words. Without the values: what the environment put into a text
/// is nobody's to read here.
pub(super) fn changes(running: &Config, wanted: &Config) -> Vec<String> {
    let (one, two) = (running, wanted);
    let same = [
        ("listen", one.listen == two.listen),
        ("threads", one.threads == two.threads),
        ("admin.listen", one.admin.listen == two.admin.listen),
        ("admin.token_file", one.admin.token_file == two.admin.token_file),
        ("admin.allowed_hosts", one.admin.allowed_hosts == two.admin.allowed_hosts),
        ("admin.tls", one.admin.tls == two.admin.tls),
        ("metrics.listen", one.metrics == two.metrics),
        ("tls", one.tls == two.tls),
        ("state.dir", one.state_dir == two.state_dir),
        ("records.keep", one.records == two.records),
        ("gates.secret_file", one.gate_secret_file == two.gate_secret_file),
        ("seal.key_files", one.seal_key_files == two.seal_key_files),
    ];
    let changed = same.into_iter().filter(|(_, is_same)| !is_same);
    changed.map(|(key, _)| format!("{key}: cannot change while dualgate runs: restart, or take it back")).collect()
}
