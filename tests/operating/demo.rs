//! `oncegate demo` and signals: whenever one comes, the demo ends in order and nothing of it is left.

use crate::support::gateway::command;
use crate::support::*;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write, pipe};
use std::net::TcpStream;
use std::process::{Child, Stdio};

/// Ends the demo by this signal; its exit code. Nobody reads a demo's standard output meanwhile.
fn end(demo: &mut Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn code(demo: &mut Child) -> Option<i32> {
    eventually("the demo ends", || demo.try_wait().unwrap()).code()
}

/// Takes the rest of a pipe's room, so that whoever writes to it waits for a reader.
fn fill(pipe: &mut PipeWriter) {
    let flags = fcntl_getfl(&*pipe).unwrap();
    fcntl_setfl(&*pipe, flags | OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b'.'; 1 << 12]).is_ok() {}
    fcntl_setfl(&*pipe, flags).unwrap();
}

/// A demo whose temporary files are in this folder.
fn spawn(folder: &std::path::Path, stdout: Stdio) -> Child {
    command(&["demo"], folder).env("TMPDIR", folder).stdout(stdout).spawn().unwrap()
}

/// The address behind these words of the story, where nobody listens any more.
#[track_caller]
fn assert_is_gone(folder: &std::path::Path, story: &str) {
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "its folder is left: {story}");
    let urls = story.split("http://").skip(1);
    for address in
        urls.map(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next().unwrap())
    {
        assert!(TcpStream::connect(address.trim_end_matches('.')).is_err(), "{address} is open: {story}");
    }
}

/// The demo waits for the reader of its first words, so that no word of its story is told before the signal.
#[test]
fn a_signal_before_the_story_ends_the_demo() {
    for (signal, expected) in
        [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)]
    {
        let setup = Setup::new("http://127.0.0.1:9");
        let (mut reader, mut writer) = pipe().unwrap();
        fill(&mut writer);
        let mut demo = spawn(setup.folder(), writer.into());
        eventually("it has begun", || fs::read_dir(setup.folder()).unwrap().next().is_some().then_some(()));
        end(&mut demo, signal);
        let mut story = String::new();
        reader.read_to_string(&mut story).unwrap();
        assert_eq!(code(&mut demo), Some(expected), "{story}");
        assert!(!story.contains("order-2"), "{story}");
        assert_is_gone(setup.folder(), story.trim_start_matches('.'));
    }
}

#[test]
fn a_signal_at_any_line_ends_the_demo() {
    for (line, signal, cut) in [
        ("A service that charges", Signal::INT, 130),
        ("1. A client", Signal::TERM, 143),
        ("3. Later", Signal::INT, 130),
        ("5. A charge", Signal::HUP, 129),
        ("/v1/status", Signal::INT, 0),
        ("/v1/status", Signal::QUIT, 0),
    ] {
        let setup = Setup::new("http://127.0.0.1:9");
        let mut demo = spawn(setup.folder(), Stdio::piped());
        let (mut lines, mut story) = (BufReader::new(demo.stdout.take().unwrap()), String::new());
        while !story.contains(line) {
            assert_ne!(lines.read_line(&mut story).unwrap(), 0, "{story}");
        }
        end(&mut demo, signal);
        lines.read_to_string(&mut story).unwrap();
        // The story may have been told meanwhile.
        let expected = if story.contains("Ctrl-C ends it") { 0 } else { cut };
        assert_eq!(code(&mut demo), Some(expected), "{line}: {story}");
        assert_is_gone(setup.folder(), &story);
    }
}
