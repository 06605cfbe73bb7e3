//! The binary as a process, for what only a process can suffer.

use std::process::{Child, Command, Stdio};

pub struct Process(Child);

/// The one of these tests, or another that is named, such as a release.
fn binary() -> std::ffi::OsString {
    std::env::var_os("DUALGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_dualgate").into())
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        Self(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// With its temporary files in a folder.
    pub fn start_in(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// With its log, as JSON lines of every level, in a file.
    pub fn logging(arguments: &[&str], level: &str, log: &std::path::Path) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).env("LOG_LEVEL", level).env("LOG_FORMAT", "json").env_remove("PORT");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(log).unwrap());
        Self(command.spawn().unwrap())
    }

    /// SIGTERM, and the end of it.
    pub fn terminate(mut self) {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// One command to its end, with nothing of this process's environment but what is given.
pub async fn dualgate(arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}
