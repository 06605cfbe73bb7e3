//! Processes of the bench: each is ended by its id when its handle goes, also when the bench fails.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

/// A child that is ended with its handle.
pub struct Child {
    process: Process,
    says: BufReader<ChildStdout>,
}

impl Child {
    /// This bench in another role.
    pub fn role(tools: &Tools, core: usize, arguments: &[&str]) -> Self {
        Self::start(tools.command(core, env::current_exe().unwrap().to_str().unwrap(), arguments))
    }

    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(process.stdout.take().unwrap());
        Self { process, says }
    }

    /// The next line it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "a process of the bench has failed; what it said is above");
        line
    }

    /// The ports it says it listens on.
    pub fn ports(&mut self) -> Vec<u16> {
        self.line().split_whitespace().map(|port| port.parse().unwrap()).collect()
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it accepts connections.
    pub fn wait_for(&mut self, port: u16) {
        for _ in 0..500 {
            assert!(self.process.try_wait().unwrap().is_none(), "dualgate has ended; what it said is above");
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("dualgate does not listen after 5 seconds");
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub fn terminate(mut self) {
        let id = self.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().unwrap().success());
        for _ in 0..1_000 {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "dualgate ended with {status}");
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("dualgate has not ended after 10 seconds");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What there is to run a program with. All of them replace themselves by the program, so that its
/// process id is the child's.
pub struct Tools {
    before: Vec<&'static str>,
    /// Whether proxy and load have a core each.
    pub pinned: bool,
}

impl Tools {
    /// Looks for them.
    pub fn find() -> Self {
        const MORE_DESCRIPTORS: [&str; 2] = ["prlimit", "--nofile=65536:65536"];
        const ALL_DESCRIPTORS: [&str; 4] = ["sh", "-c", "ulimit -n \"$(ulimit -H -n)\"; exec \"$@\"", "sh"];
        // Ends dualgate also when the bench is killed; the bench's own roles see their input end.
        const UNTIL_PARENT_ENDS: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];
        let mut before = if works(&MORE_DESCRIPTORS) { MORE_DESCRIPTORS.to_vec() } else { ALL_DESCRIPTORS.to_vec() };
        if works(&UNTIL_PARENT_ENDS) {
            before.extend(UNTIL_PARENT_ENDS);
        }
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        Self { before, pinned: cores > 1 && works(&["taskset", "-c", "0"]) && works(&["taskset", "-c", "1"]) }
    }

    /// The command that runs a program so.
    pub fn command(&self, core: usize, program: &str, arguments: &[&str]) -> Command {
        let core = core.to_string();
        let pin = ["taskset", "-c", &core];
        let words = self.before.iter().copied().chain(pin.into_iter().filter(|_| self.pinned)).chain([program]);
        let words: Vec<&str> = words.chain(arguments.iter().copied()).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }
}

fn works(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    let quiet = command.args(&words[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
