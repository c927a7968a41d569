//! Real signals to a real process: the test starts itself again as the process that is signalled.

#![expect(clippy::unwrap_used, reason = "a test whose helpers fail loudly")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use exeat_runtime::shutdown::Shutdown;

/// Waits for a shutdown and says so. Then it ends well when it was started with `drains`, else it hangs.
#[test]
#[ignore = "the process that the other tests signal"]
fn child() {
    let drains = std::env::args().any(|argument| argument == "drains");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().unwrap();
        println!("\nstarted");
        shutdown.wait().await;
        println!("draining");
        if !drains {
            std::future::pending::<()>().await;
        }
    });
}

struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(filter: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .args(filter)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Self { child, output };
        process.says("started");
        process
    }

    fn says(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "ended before it said {word:?}");
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> ExitStatus {
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap()
    }
}

#[test]
fn the_first_signal_drains_and_the_process_ends_well() {
    for name in ["TERM", "INT"] {
        // A second name only selects more tests; the child reads it as its order to drain.
        let mut process = Process::start(&["drains"]);
        process.signal(name);
        process.says("draining");
        assert!(process.end().success());
    }
}

#[test]
fn a_second_signal_ends_a_drain_that_hangs() {
    for (first, second, status) in [("TERM", "TERM", 143), ("TERM", "INT", 130), ("INT", "TERM", 143)] {
        let mut process = Process::start(&[]);
        process.signal(first);
        process.says("draining");
        process.signal(second);
        assert_eq!(process.end().code(), Some(status), "{first} then {second}");
    }
}
