// SPDX-License-Identifier: MPL-2.0

//! Time limits: a hang fails and shows the output so far.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Maximum run time of a process: 5 minutes, or the number of seconds in `TEST_LIMIT_S`.
pub fn limit() -> Duration {
    let seconds = std::env::var("TEST_LIMIT_S").ok().map(|limit| limit.parse().expect("seconds"));
    Duration::from_secs(seconds.unwrap_or(300))
}

/// Aborts the process if the test on this thread runs longer than twice [`limit`] from now on. A
/// thread that hangs cannot be ended in any other way.
pub fn watch() {
    thread_local! {
        static WATCH: RefCell<Option<mpsc::Sender<()>>> = const { RefCell::new(None) };
    }
    let name = thread::current().name().unwrap_or_default().to_owned();
    let (watch, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(2 * limit()) == Err(mpsc::RecvTimeoutError::Timeout) {
            // `eprintln!` would be captured and lost with the output of the test.
            let _ = writeln!(std::io::stderr(), "{name} did not end within {:?}", 2 * limit());
            std::process::abort();
        }
    });
    // This ends the previous watch, if any. The new one ends with the thread.
    WATCH.set(Some(watch));
}

/// Starts a process in its own process group, so that [`finish`] can kill the whole group.
#[track_caller]
pub fn spawn(command: &mut Command) -> Child {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a process and returns its output. Panics if it exceeds [`limit`].
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(spawn(command), &format!("{command:?}"))
}

/// Waits for a process and returns its output. If it exceeds [`limit`], kills its process group
/// and panics.
#[track_caller]
pub fn finish(mut process: Child, name: &str) -> Output {
    let group = format!("-{}", process.id());
    let (stdout, stderr) = (read(process.stdout.take()), read(process.stderr.take()));
    let (end, ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let status = process.wait();
        let _ = end.send(());
        status
    });
    let in_time = ended.recv_timeout(limit()).is_ok();
    if !in_time {
        let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
        assert!(killed.is_ok_and(|status| status.success()), "{name} hangs and cannot be killed");
    }
    let output = Output {
        status: waiting.join().expect("no panic").expect("a child process"),
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        in_time,
        "{name} did not end within {:?}; it printed\n{}\n{}",
        limit(),
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

fn read(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).expect("a pipe");
        }
        bytes
    })
}
