//! The sandbox's own books, and what must hold of them after every run.
//!
//! Invariants judged here: every machine has a token and no two have the same; nothing is left that
//! bills; fleet's compute cost agrees with the bill.

use crate::home::{Home, pause};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// One reading of `fleet sandbox ledger --json`.
pub(crate) struct Ledger(pub(crate) Value);

impl Ledger {
    pub(crate) fn machines(&self) -> &[Value] {
        self.0["instances"].as_array().expect("the ledger lists instances")
    }

    /// Ids of the machines that have not ended.
    pub(crate) fn alive(&self) -> Vec<String> {
        let rows = self.machines().iter().filter(|m| m["ended_at"].is_null());
        rows.map(|m| m["id"].as_str().unwrap_or("?").to_owned()).collect()
    }

    /// Everything that still bills: machines, disks, contracts.
    pub(crate) fn billing(&self) -> Vec<String> {
        let others = self.0["resources"].as_array().expect("the ledger lists resources");
        let others = others.iter().filter(|r| r["ended_at"].is_null());
        let named = others.map(|r| format!("{} {} {}", r["provider"], r["kind"], r["id"]));
        self.alive().into_iter().chain(named).collect()
    }

    /// Creates that had an effect are as many as machines, and no token was used for two of them.
    pub(crate) fn assert_no_double_create(&self) {
        let tokens: Vec<&str> =
            self.machines().iter().map(|m| m["token"].as_str().unwrap_or("")).collect();
        assert!(tokens.iter().all(|t| !t.is_empty()), "a machine without a token: {}", self.0);
        let distinct: BTreeSet<&str> = tokens.iter().copied().collect();
        assert_eq!(distinct.len(), tokens.len(), "two machines with one token: {tokens:?}");
    }

    /// The compute cost that fleet reports for `jobs` is what the machines were billed, within 1 % or
    /// 2 s a machine, whichever is more.
    pub(crate) fn assert_books_agree(&self, jobs: &[Value]) {
        let usd = |m: &Value, field: &str| m[field].as_f64().expect("money is a number");
        let billed: f64 = self.machines().iter().map(|m| usd(m, "cost_usd")).sum();
        let two_seconds: f64 =
            self.machines().iter().map(|m| 2.0 * usd(m, "price_usd_per_hour") / 3600.0).sum();
        let reported: f64 = jobs.iter().map(|j| usd(&j["cost_parts"], "compute")).sum();
        let slack = two_seconds.max(billed * 0.01);
        assert!(billed > 0.0, "nothing was billed: {}", self.0);
        assert!(
            (billed - reported).abs() <= slack,
            "the ledger bills ${billed:.6}, fleet says ${reported:.6}; allowed ${slack:.6}"
        );
    }
}

impl Home {
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger(self.json(&["sandbox", "ledger"]))
    }

    /// The ledger once nothing in it bills any more, its tokens checked.
    pub(crate) fn drained(&self) -> Ledger {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let ledger = self.ledger();
            let left = ledger.billing();
            if left.is_empty() {
                ledger.assert_no_double_create();
                return ledger;
            }
            assert!(Instant::now() < end, "still bills: {left:?}\n{}", self.server_log());
            pause();
        }
    }
}
