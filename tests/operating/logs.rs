//! A log that nobody reads holds nothing up, and what can't be told is counted.

use crate::support::*;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Bytes that a pipe of Linux holds.
const PIPE_BYTES: usize = 65536;

/// Standard error that nobody reads, full from the start.
fn full() -> (std::io::PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE_BYTES]).unwrap();
    (reader, writer.into())
}

fn metric(gateway: &Gateway, series: &str) -> u64 {
    let text = gateway.admin("GET", "/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)).expect(series);
    line.trim().parse().unwrap()
}

#[test]
fn a_log_that_nobody_reads_stops_no_request() {
    let upstream = Upstream::numbering();
    for line in ["access_log = \"json\"", "access_log = \"text\"", "access_log = \"off\""] {
        let setup = Setup::new(&upstream.url()).memory().server(line);
        let (_reader, stderr) = full();
        let gateway = setup.try_start_telling(stderr).unwrap();
        // The path is in the log, so that the lines are more than wait for a reader.
        let path = format!("/{}", "p".repeat(7000));
        let mut connection = gateway.connect();
        for n in 0..170 {
            let request = Request::keyed(&path, &n.to_string());
            connection.send(&request).unwrap().assert_executed(201);
        }
        assert_eq!(gateway.admin("GET", "/livez").status, 200);
        let unread = metric(&gateway, "oncegate_log_lines_dropped_total{reason=\"unread\"}");
        assert_eq!(unread > 0, line != "access_log = \"off\"", "{line}: {unread}");
    }
}

/// A service that is down makes lines with every request.
#[test]
fn faults_that_nobody_reads_stop_no_request() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_reader, stderr) = full();
    let gateway = Setup::new(&format!("http://{gone}")).memory().try_start_telling(stderr).unwrap();
    for n in 0..50 {
        let reply = gateway.send(&Request::keyed("/charges", &n.to_string()));
        reply.assert_problem(502, "upstream-unreachable");
        assert_eq!(gateway.send(&Request::get("/charges")).status, 502);
    }
    assert!(metric(&gateway, "oncegate_log_lines_dropped_total{reason=\"repeated\"}") > 0);
}

#[test]
fn an_end_that_nobody_reads_about_comes() {
    let upstream = Upstream::start(|_| Script::silence());
    for signals in [1, 2] {
        let setup = Setup::new(&upstream.url()).server("shutdown_grace = \"300ms\"");
        let (_reader, stderr) = full();
        let mut gateway = setup.try_start_telling(stderr).unwrap();
        let mut connection = gateway.connect();
        connection.0.write(&Request::keyed("/charges", "k").bytes()).unwrap();
        upstream.await_count(signals);
        for _ in 0..signals {
            gateway.signal(Signal::TERM);
        }
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

#[test]
fn a_refused_start_that_nobody_reads_ends() {
    let setup = Setup::new("http://127.0.0.1:9").memory().server("listen = [\"192.0.2.1:80\"]");
    let (_reader, stderr) = full();
    let ended = setup.try_start_telling(stderr).err().expect("it has no such address");
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

/// A reader that comes back learns how much it missed, and misses nothing from then on.
#[test]
fn a_reader_that_comes_back_is_told() {
    let upstream = Upstream::numbering();
    let (mut reader, stderr) = full();
    let setup = Setup::new(&upstream.url()).memory().server("access_log = \"json\"");
    let mut gateway = setup.try_start_telling(stderr).unwrap();
    let path = format!("/{}", "p".repeat(7000));
    let mut connection = gateway.connect();
    for n in 0..170 {
        connection.send(&Request::keyed(&path, &n.to_string())).unwrap().assert_executed(201);
    }
    let told = std::thread::spawn(move || {
        let mut told = String::new();
        reader.read_to_string(&mut told).map(|_| told)
    });
    let unread = metric(&gateway, "oncegate_log_lines_dropped_total{reason=\"unread\"}");
    eventually("a line is read again", || {
        connection.send(&Request::keyed("/late", "late")).unwrap();
        let now = metric(&gateway, "oncegate_log_lines_dropped_total{reason=\"unread\"}");
        (now == unread).then_some(())
    });
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code(), Some(0));
    let told = told.join().unwrap().unwrap();
    let count = format!("{unread} lines of the log were dropped here");
    assert!(told.contains(&count) && told.contains("\"path\":\"/late\""), "{count}: {}", told.len());
    assert!(told.trim_end().ends_with("the store is flushed and closed records=171"), "{told}");
}

/// Standard error that is closed is nobody's fault, either.
#[test]
fn a_reader_that_is_gone_stops_no_request() {
    let upstream = Upstream::numbering();
    let (reader, stderr) = full();
    drop(reader);
    let setup = Setup::new(&upstream.url()).memory().server("access_log = \"json\"");
    let gateway = setup.try_start_telling(stderr).unwrap();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    assert_eq!(gateway.terminate().1, Some(0));
}

/// A service that is down makes a warning with every request.
#[test]
fn warnings_of_a_kind_come_once_a_second() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = Setup::new(&format!("http://{gone}")).memory().start();
    let begun = Instant::now();
    let mut connection = gateway.connect();
    for n in 0..200 {
        connection.send(&Request::keyed("/charges", &n.to_string())).unwrap();
    }
    let seconds = begun.elapsed().as_secs() as usize;
    gateway.signal(Signal::TERM);
    gateway.wait();
    let log = gateway.stderr();
    let of_it = |line: &&str| line.contains("upstream unreachable");
    let (told, warned): (Vec<&str>, Vec<&str>) =
        log.lines().filter(of_it).partition(|line| line.contains("left out"));
    let (told, warned) = (told.len(), warned.len());
    assert!((1..=seconds + 1).contains(&warned) && told <= seconds + 1, "{warned} in {seconds} s:\n{log}");
}

/// A burst, and silence after it: nothing comes that it could be told with.
#[test]
fn what_was_left_out_is_told_in_silence() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for format in ["text", "json"] {
        let setup = Setup::new(&format!("http://{gone}")).memory().env("ONCEGATE_LOG_FORMAT", format);
        let gateway = setup.start();
        let left_out = "oncegate_log_lines_dropped_total{reason=\"repeated\"}";
        let mut connection = gateway.connect();
        eventually("a line is left out", || {
            connection.send(&Request::keyed("/charges", "k")).unwrap();
            (metric(&gateway, left_out) > 0).then_some(())
        });
        gateway.assert_logs(&["lines like", "upstream unreachable upstream=origin", "were left out"]);
    }
}

/// The main thread answers for workers that don't.
#[test]
fn a_worker_that_stands_still_is_not_alive() {
    let upstream = Upstream::numbering();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()).memory());
    let gateway = setup.start();
    std::thread::scope(|scope| {
        faults.hold_at(Point::Sending, 1);
        let held = scope.spawn(|| gateway.send(&Request::keyed("/charges", "k")));
        faults.await_held();
        assert_eq!(gateway.admin("GET", "/livez").status, 200, "it may come back");
        let told = eventually("it is noticed", || {
            std::thread::sleep(Duration::from_millis(200));
            let reply = gateway.admin("GET", "/livez");
            (reply.status != 200).then_some(reply)
        });
        assert_eq!(told.status, 503);
        assert!(told.text().starts_with("not alive: worker ") && told.text().contains("stands still"));
        faults.release();
        held.join().unwrap().assert_executed(201);
        eventually("it is alive again", || (gateway.admin("GET", "/livez").status == 200).then_some(()));
    });
}
