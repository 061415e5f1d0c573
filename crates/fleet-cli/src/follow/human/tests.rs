//! What people read at the moments that matter.

use super::*;
use crate::args::{ColorChoice, Global};
use fleet_types::Timestamp;

fn plain() -> Printer {
    Printer::new(&Global { color: ColorChoice::Never, json: false, quiet: false, verbose: 0 }, true)
}

#[test]
fn a_notice_is_calm_and_names_the_time_left() {
    let body = EventBody::Notice {
        epoch: Epoch(1),
        source: "imds".into(),
        deadline: Timestamp::from_millis(0),
        warning_seconds: 112.4,
    };
    assert_eq!(
        describe(&plain(), Side::Err, &body, Some(ProviderId::Aws), None),
        ["notice from AWS, 112 s left: attempt 1 saves its work; replacement starting now"]
    );
}

#[test]
fn an_attempt_ends_with_its_cause_cost_and_loss() {
    let body = EventBody::Ended {
        epoch: Epoch(2),
        end_cause: EndCause::UserError,
        exit_code: Some(3),
        lost_work_seconds: 1.25,
        cost_usd: Usd::from_micros(4_200),
    };
    assert_eq!(
        describe(&plain(), Side::Err, &body, None, None),
        ["attempt 2 ended: the task failed with exit code 3; $0.00420, 1.2 s of work to repeat"]
    );
}

#[test]
fn a_plan_that_is_refused_everywhere_fits_the_terminal() {
    let told = |body: &EventBody, width| describe(&plain(), Side::Err, body, None, width);
    let refused: EventBody = serde_json::from_value(serde_json::json!({
        "event": "plan.refused", "epoch": 1, "provider": "aws", "region": "us-east-1",
        "zone": "us-east-1a", "instance_type": "g4dn.xlarge", "market": "spot",
        "fault": "capacity", "code": "InsufficientInstanceCapacity",
        "message": "We currently do not have sufficient capacity",
    }))
    .expect("an event");
    assert_eq!(
        told(&refused, Some(80)),
        ["aws/us-east-1/us-east-1a g4dn.xlarge said no: no capacity (InsufficientInstan..."]
    );
    assert!(told(&refused, None)[0].ends_with("sufficient capacity; on to the next place"));
    let reason =
        "no spot is to be had: no capacity (X) in 9 places; credentials: vast/FR/1 T4x1 spot";
    let body = EventBody::FellBack { epoch: Epoch(1), reason: reason.into() };
    assert_eq!(told(&body, None), [format!("{reason}; buying on-demand")]);
    assert_eq!(
        told(&body, Some(60)),
        [
            "no spot is to be had; buying on-demand:",
            "  no capacity (X) in 9 places",
            "  credentials: vast/FR/1 T4x1 spot",
        ]
    );
}

#[test]
fn words_from_outside_cannot_drive_the_terminal() {
    let body = EventBody::Waiting { reason: "\x1b[2J".into() };
    assert_eq!(describe(&plain(), Side::Err, &body, None, None), ["waiting: \\u{1b}[2J"]);
}

#[test]
fn bytes_are_shown_as_people_say_them() {
    let shown = [0, 999, 1_000, 1_234_567, 999_960_000, 5_000_000_000_000].map(show_bytes);
    assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.2 MB", "1.0 GB", "5.0 TB"]);
}

#[test]
fn a_summary_spells_out_each_place_that_said_no() {
    let job: JobView = serde_json::from_value(serde_json::json!({
        "id": "j-000000000001", "name": "train", "phase": "finished", "outcome": "failed",
        "reason": "no capacity: aws/a/b x spot: sold out; vast/c/d y spot: outbid",
        "exit_code": null, "created_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:09Z", "cost_usd": 0.0,
        "cost_parts": {"compute": 0.0, "disk": 0.0, "network": 0.0, "egress_estimated": 0.0},
        "workdir_hash": null, "group": null, "attempts": []
    }))
    .expect("a job");
    assert_eq!(
        summary::lines(&plain(), &job),
        [
            "",
            "j-000000000001 (train) failed",
            "  because     no capacity: aws/a/b x spot: sold out",
            "              vast/c/d y spot: outbid",
            "  wall time   9s",
            "  cost        $0.00",
        ]
    );
}
