//! Notices, the dead-man's switch and the end of a machine's life.

use crate::rig::{PATIENCE, Rig, task};
use fleet_agent_api::{FromAgent, Notifier, StopReason, TaskState};
use fleet_types::{EndMachine, Timestamp};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Answer = dyn Fn(&str, &str) -> (u16, String) + Send + Sync;

/// A web server of one function; every request's first line and headers are told.
struct Web {
    url: String,
    requests: Receiver<String>,
}

fn serve(answer: Arc<Answer>) -> Web {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, sender) = (Arc::clone(&answer), sender.clone());
            std::thread::spawn(move || {
                while answer_one(&stream.as_ref().unwrap().try_clone().unwrap(), &*answer, &sender)
                {
                }
            });
        }
    });
    Web { url, requests }
}

fn answer_one(
    stream: &TcpStream,
    answer: &Answer,
    sender: &std::sync::mpsc::Sender<String>,
) -> bool {
    let mut head = String::new();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return false;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line.to_lowercase());
    }
    let first = head.lines().next().unwrap_or_default().to_owned();
    let (status, body) = answer(&first, &head);
    let _ = sender.send(first);
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = stream;
    stream.write_all(text.as_bytes()).is_ok()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis() as i64)
}

#[test]
fn a_notice_stops_the_task_without_the_controller() {
    let action = Arc::new(Mutex::new(None::<String>));
    let said = Arc::clone(&action);
    let web = serve(Arc::new(move |first: &str, head: &str| {
        if first.starts_with("put /latest/api/token") {
            return (200, "secret-token".into());
        }
        if !head.contains("x-aws-ec2-metadata-token: secret-token") {
            return (401, String::new());
        }
        match said.lock().unwrap().as_ref() {
            Some(text) if first.contains("/latest/meta-data/spot/instance-action") => {
                (200, text.clone())
            }
            _ => (404, String::new()),
        }
    }));
    let mut rig = Rig::new();
    rig.config.notifier = Some(Notifier::Ec2);
    rig.env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), web.url.clone()));
    // A proxy that exists nowhere must not be asked.
    rig.env.push(("http_proxy".into(), "http://127.0.0.1:9".into()));
    let script = "trap 'echo saved > $FLEET_CHECKPOINT_DIR/m; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let mut link = rig.run(task(script));
    link.line("up");
    drop(link);
    let deadline = now().plus(Duration::from_secs(60));
    *action.lock().unwrap() = Some(format!(r#"{{"action":"terminate","time":"{deadline}"}}"#));
    crate::rig::wait_for("the save", || rig.base().join("checkpoint/m").exists());
    let (mut link, state) = rig.hello(0);
    let notice = state.notice.expect("the notice stays in the state");
    assert_eq!((notice.deadline, notice.source.as_str()), (deadline, "EC2 spot/instance-action"));
    let end = match state.task {
        TaskState::Ended(end) => end,
        _ => link.ended(),
    };
    assert_eq!((end.code, end.stopped), (Some(0), Some(StopReason::Notice)));
    let last = link.ready();
    assert_eq!(link.fetch(&last)["m"], b"saved\n");
    link.published(&last.source);
    assert_eq!(link.settled(), Some(1));
    let until = std::fs::read_to_string(rig.base().join("preemption")).unwrap();
    let until = Timestamp::parse(until.trim()).expect("an RFC 3339 time");
    assert!(until <= deadline.minus(Duration::from_secs(9)), "{until} {deadline}");
}

#[test]
fn a_notice_of_compute_engine_comes_by_a_question_that_is_held() {
    let (word, held) = (Arc::new((Mutex::new(false), Condvar::new())), channel());
    let (said, asking) = (Arc::clone(&word), Mutex::new(held.0));
    let web = serve(Arc::new(move |first: &str, head: &str| {
        let right = first.starts_with("get /computemetadata/v1/instance/preempted");
        if !right || !head.contains("metadata-flavor: google") {
            return (403, String::new());
        }
        if !first.contains("wait_for_change=true") {
            return (200, "FALSE".into());
        }
        asking.lock().unwrap().send(()).unwrap();
        let (taken, changed) = &*said;
        let _held = changed.wait_while(taken.lock().unwrap(), |taken| !*taken).unwrap();
        (200, "TRUE".into())
    }));
    let mut rig = Rig::new();
    rig.config.notifier = Some(Notifier::Gce);
    // Were it looked at by poll, nothing would be seen in time.
    rig.config.notice_poll_ms = 600_000;
    let host = web.url.strip_prefix("http://").unwrap().to_owned();
    rig.env.push(("GCE_METADATA_HOST".into(), host));
    rig.env.push(("http_proxy".into(), "http://127.0.0.1:9".into()));
    let mut link = rig.run(task("trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"));
    link.line("up");
    drop(link);
    held.1.recv_timeout(PATIENCE).expect("a question that may be held");
    *word.0.lock().unwrap() = true;
    word.1.notify_all();
    let (mut link, mut state) = rig.hello(0);
    crate::rig::wait_for("the notice", || {
        if state.notice.is_none() {
            (link, state) = rig.hello(0);
        }
        state.notice.is_some()
    });
    let notice = state.notice.clone().unwrap();
    assert_eq!(notice.source, "GCE instance/preempted");
    assert_eq!(notice.deadline.since(notice.seen_at), Duration::from_secs(30));
    let end = match state.task {
        TaskState::Ended(end) => end,
        _ => link.ended(),
    };
    assert_eq!(end.stopped, Some(StopReason::Notice));
}

#[test]
fn a_machine_without_task_and_contact_is_ended_once() {
    let web = serve(Arc::new(|_: &str, _: &str| (204, String::new())));
    let mut rig = Rig::new();
    rig.config.orphan_ms = 300;
    rig.config.beat_ms = 20;
    rig.config.end_machine = EndMachine::Post(format!("{}/end", web.url));
    rig.start();
    let first = web.requests.recv_timeout(PATIENCE).unwrap();
    assert!(first.starts_with("post /end "), "{first}");
    // Ten orphan times later it is still the only one.
    assert_eq!(web.requests.recv_timeout(Duration::from_secs(3)), Err(RecvTimeoutError::Timeout));
}

#[test]
fn a_task_keeps_its_machine_until_the_end_of_its_life() {
    let web = serve(Arc::new(|_: &str, _: &str| (200, String::new())));
    let mut rig = Rig::new();
    rig.config.orphan_ms = 100;
    rig.config.expires_in_ms = 2500;
    rig.config.end_machine = EndMachine::Post(format!("{}/end", web.url));
    let mut link = rig.run(task("echo up; sleep 600"));
    link.line("up");
    drop(link);
    assert_eq!(
        web.requests.recv_timeout(Duration::from_secs(1)),
        Err(RecvTimeoutError::Timeout),
        "lost contact ends no running task"
    );
    web.requests.recv_timeout(PATIENCE).unwrap();
    let (_, state) = rig.hello(0);
    let TaskState::Ended(end) = state.task else { panic!("the task runs: {:?}", state.task) };
    assert_eq!(end.stopped, Some(StopReason::Limit));
}

#[test]
fn the_end_command_runs_and_never_means_never() {
    let mut rig = Rig::new();
    rig.config.orphan_ms = 50;
    let mark = rig.home().join("ended").to_str().unwrap().to_owned();
    rig.config.end_machine = EndMachine::Command(vec!["touch".into(), mark.clone()]);
    rig.start();
    crate::rig::wait_for("the command", || std::path::Path::new(&mark).exists());
    let mut rig = Rig::new();
    rig.config.orphan_ms = 50;
    rig.start();
    crate::rig::wait_for("the note", || rig.log().contains("cannot end itself"));
    let (mut link, _) = rig.hello(0);
    link.expect("a beat", |m| match m {
        FromAgent::Beat(beat) => beat.memory_used_mib.filter(|m| *m > 0.0).and(beat.disk_free_mib),
        _ => None,
    });
}
