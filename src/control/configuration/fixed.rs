//! What cannot change while the process runs: its listeners, its threads, and where its state and its keys are.

use std::fmt::Debug;

use crate::config::Config;

/// What another configuration would change of that, in words.
pub(super) fn changes(running: &Config, wanted: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    // Without the values: what the environment put into a text is nobody's to read here.
    let mut compare = |key: &str, one: &dyn Debug, two: &dyn Debug| {
        if format!("{one:?}") != format!("{two:?}") {
            changes.push(format!("{key}: cannot change while dualgate runs: restart, or take it back"));
        }
    };
    compare("listen", &running.listen, &wanted.listen);
    compare("threads", &running.threads, &wanted.threads);
    compare("admin.listen", &running.admin.listen, &wanted.admin.listen);
    compare("admin.token_file", &running.admin.token_file, &wanted.admin.token_file);
    compare("admin.allowed_hosts", &running.admin.allowed_hosts, &wanted.admin.allowed_hosts);
    compare("admin.tls", &running.admin.tls, &wanted.admin.tls);
    compare("metrics.listen", &running.metrics, &wanted.metrics);
    compare("tls", &running.tls, &wanted.tls);
    compare("state.dir", &running.state_dir, &wanted.state_dir);
    compare("seal.key_files", &running.seal_key_files, &wanted.seal_key_files);
    changes
}
