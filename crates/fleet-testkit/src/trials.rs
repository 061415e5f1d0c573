//! The table of trials: number, title, where it applies, in which weather, and what is done.

mod bill;
mod ends;
mod faults;
mod identity;
mod launch;
mod listing;
mod offers;
mod watch;

use crate::Bench;
use anyhow::Result;
use fleet_provider::{Capabilities, NoticeSource};
use fleet_types::ProviderId;
use std::pin::Pin;

/// What a trial does.
pub type Run = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One MUST, tried.
#[derive(Clone, Copy)]
pub struct Trial {
    /// Of the line in the specification.
    pub number: u32,
    pub title: &'static str,
    /// The power that it needs.
    pub needs: fn(&Capabilities) -> bool,
    /// The sandbox's scenario, in JSON.
    pub weather: fn(ProviderId) -> String,
    pub run: Run,
}

fn any(_: &Capabilities) -> bool {
    true
}
fn spot(c: &Capabilities) -> bool {
    c.spot
}
fn on_demand(c: &Capabilities) -> bool {
    c.on_demand
}
fn outside_notice(c: &Capabilities) -> bool {
    c.notice == NoticeSource::Ec2Metadata
}
fn extra_things(c: &Capabilities) -> bool {
    c.tags
}

fn calm(_: ProviderId) -> String {
    "{}".to_owned()
}

macro_rules! trial {
    ($number:literal, $title:literal, $needs:path, $weather:path, $run:path) => {
        Trial {
            number: $number,
            title: $title,
            needs: $needs,
            weather: $weather,
            run: |bench| Box::pin($run(bench)),
        }
    };
}

/// Every trial.
#[rustfmt::skip]
pub const ALL: &[Trial] = &[
    trial!(1,  "name and capabilities are constant",           any, calm, identity::constant),
    trial!(2,  "verify says who pays and changes nothing",     any, calm, identity::verifies),
    trial!(3,  "a refused credential is auth everywhere",      any, calm, identity::refused),
    trial!(4,  "no error shows a credential",                  any, calm, identity::hidden),
    trial!(5,  "offers are what was asked",                    any, calm, offers::matching),
    trial!(6,  "prices are positive or absent",                any, calm, offers::priced),
    trial!(7,  "sold-out pools stay listed",                   any, faults::sold_out, offers::sold_out),
    trial!(8,  "launch buys what was asked, spot",             spot, calm, launch::spot),
    trial!(8,  "launch buys what was asked, on demand",        on_demand, calm, launch::on_demand),
    trial!(9,  "the mark is on the thing",                     any, calm, launch::marked),
    trial!(10, "launch is idempotent",                         any, calm, launch::twice),
    trial!(11, "a lost answer is unknown and adopted",         any, faults::create_lost, launch::lost),
    trial!(12, "a server error after effect is unknown",       any, faults::create_error_after, launch::lost),
    trial!(12, "a server error before effect is unknown",      any, faults::create_error_before, launch::not_made),
    trial!(13, "want of capacity is a refusal",                any, faults::sold_out, bill::capacity),
    trial!(14, "a limit of the account is a refusal",          any, faults::quota, bill::quota),
    trial!(15, "dearer than the limit is refused",             any, calm, bill::price),
    trial!(16, "too frequent is throttled and not applied",    any, faults::create_throttled, bill::throttled),
    trial!(17, "one launch sends one create",                  any, faults::creates_error_after, bill::once),
    trial!(18, "a request that makes no sense is not sent",    any, calm, bill::senseless),
    trial!(19, "a machine reaches running and answers SSH",    any, calm, watch::runs),
    trial!(20, "an unknown id is not found",                   any, calm, watch::unknown_id),
    trial!(21, "a taken machine reads as preempted",           any, calm, watch::preempted),
    trial!(22, "a notice reads as marked",                     outside_notice, calm, watch::noticed),
    trial!(23, "a failed read is an error",                    any, faults::reads_fail, watch::failed_reads),
    trial!(24, "a listing is all of ours and none of others",  any, calm, listing::exact),
    trial!(25, "a broken listing is never shorter",            any, faults::list_fails_once, listing::broken),
    trial!(26, "a new machine is listed within the window",    any, faults::lag, listing::lagging),
    trial!(27, "terminate ends the bill",                      any, calm, ends::ends),
    trial!(28, "terminate can be repeated",                    any, calm, ends::repeats),
    trial!(29, "a lost delete is not done",                    any, faults::delete_lost, ends::lost),
    trial!(30, "things besides machines are found and removed", extra_things, calm, ends::leftovers),
    trial!(31, "layers never double a create",                 any, faults::create_lost, launch::layered),
    trial!(32, "layers try a read again",                      any, faults::reads_fail_twice, watch::layered),
];

/// What a driver can do. Capabilities are constant, so a driver that reaches nothing can say.
pub fn capabilities(id: ProviderId) -> Result<Capabilities> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let driver = runtime.block_on(crate::bench::unreachable(id))?;
    Ok(driver.capabilities())
}
